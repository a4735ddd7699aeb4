-- Grants of which a token was given on the word of a trusted issuer: they end when that trust does.
CREATE TABLE trusted_grants (
    issuer   TEXT COLLATE "C" NOT NULL REFERENCES trusted_issuers (id),
    grant_id TEXT COLLATE "C" NOT NULL REFERENCES grants (id),
    PRIMARY KEY (issuer, grant_id)
);
