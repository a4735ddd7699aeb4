-- What this server is at the authorization servers of services, and people who are there now to connect an account.

-- `document` is the client's id and the server that it was registered for; `sealed` its secret, none of a public client,
-- bound to this row by `generation`, which no two of a service share.
CREATE TABLE service_clients (
    service    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL CHECK (generation > 0),
    document   TEXT COLLATE "C" NOT NULL,
    sealed     BYTEA CHECK (LENGTH(sealed) > 0)
);

-- By the keyed hash of what they come back with, or ask again with where they enter a code elsewhere. `sealed` is the code
-- of such a device, bound to this row; it is not asked about before `next_poll`.
CREATE TABLE connecting (
    hash      BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    expires   BIGINT NOT NULL,
    document  TEXT COLLATE "C" NOT NULL,
    next_poll BIGINT NOT NULL DEFAULT 0,
    sealed    BYTEA CHECK (LENGTH(sealed) > 0)
);
CREATE INDEX connecting_by_expiry ON connecting (expires);
