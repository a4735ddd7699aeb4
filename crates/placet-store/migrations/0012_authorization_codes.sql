-- Requests that clients pushed (RFC 9126), and codes that people's consent gave.

-- By the hash of their `request_uri`. A request is decided once; its row stays until nobody can be looking at it.
CREATE TABLE pushed_requests (
    hash     BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    agent    TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    query    TEXT COLLATE "C" NOT NULL,
    pushed   BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    decided  BIGINT,
    CHECK (pushed < expires)
);
CREATE INDEX pushed_requests_by_expiry ON pushed_requests (expires);

-- By the hash of the code. The grant is made when the code is used, so that one that nobody used leaves no authority;
-- a used code keeps its row for a while, so that a second use is known for what it is.
CREATE TABLE authorization_codes (
    hash     BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    agent    TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    user_id  TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    document TEXT COLLATE "C" NOT NULL,
    issued   BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    used     BIGINT,
    CHECK (issued < expires)
);
CREATE INDEX authorization_codes_by_expiry ON authorization_codes (expires);
