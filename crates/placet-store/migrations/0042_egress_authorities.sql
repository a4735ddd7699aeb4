-- The authorities that certify hosts at the egress door: the one that does now, and the next one, which agents trust before
-- it does. `sealed` is the private key, bound to the row.
CREATE TABLE egress_authorities (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'next')),
    certificate BYTEA NOT NULL CHECK (LENGTH(certificate) > 0),
    sealed      BYTEA NOT NULL CHECK (LENGTH(sealed) > 0),
    created     BIGINT NOT NULL,
    expires     BIGINT NOT NULL
);
CREATE UNIQUE INDEX egress_authorities_by_state ON egress_authorities (state);
