-- Proofs of possession that were used, keys that refresh tokens are bound to, and what scopes mean.

-- A DPoP proof is good once, on whichever node: known until it is too old to be taken anyway. Only where several nodes
-- share the database; a node alone remembers them itself.
CREATE TABLE dpop_proofs (
    id      BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(id) = 16),
    expires BIGINT NOT NULL
);
CREATE INDEX dpop_proofs_by_expiry ON dpop_proofs (expires);

-- The thumbprint of the key that whoever uses a refresh token has to prove to hold (RFC 9449 §5).
ALTER TABLE refresh_tokens ADD COLUMN key TEXT COLLATE "C" CHECK (LENGTH(key) = 43);

-- What a scope means in plain words, what else it stands for, and who may delegate it.
CREATE TABLE scopes (
    name     TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (LENGTH(name) BETWEEN 1 AND 256),
    document TEXT COLLATE "C" NOT NULL
);
