-- Refresh tokens, resource servers, and which of those charged a decision.

-- Hashed at rest. A token that was used keeps its row until it expires, so that a second use is known for what it is;
-- `salt` is what its successor was derived with, for a client that lost the answer.
CREATE TABLE refresh_tokens (
    hash      BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    agent     TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    grant_id  TEXT COLLATE "C" NOT NULL REFERENCES grants (id),
    issued    BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    used      BIGINT,
    salt      BYTEA CHECK (LENGTH(salt) = 32),
    successor BYTEA CHECK (LENGTH(successor) = 32),
    CHECK ((used IS NULL) = (salt IS NULL)),
    CHECK ((used IS NULL) = (successor IS NULL))
);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires);

-- A row is never deleted, so that the audience and the name of one that ended stay what they were in the record.
CREATE TABLE resource_servers (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name     TEXT COLLATE "C" NOT NULL CHECK (LENGTH(name) BETWEEN 1 AND 64),
    audience TEXT COLLATE "C" NOT NULL CHECK (LENGTH(audience) BETWEEN 1 AND 2048),
    secret   BYTEA NOT NULL CHECK (LENGTH(secret) = 32),
    made_by  TEXT COLLATE "C" NOT NULL,
    created  BIGINT NOT NULL,
    ended    BIGINT
);
CREATE UNIQUE INDEX resource_servers_name ON resource_servers (name) WHERE ended IS NULL;
CREATE UNIQUE INDEX resource_servers_audience ON resource_servers (audience) WHERE ended IS NULL;

-- The resource server that charged a decision; it alone says what became of it.
ALTER TABLE actions ADD COLUMN resource_server TEXT COLLATE "C";
CREATE INDEX actions_by_task ON actions (task) WHERE task IS NOT NULL;
