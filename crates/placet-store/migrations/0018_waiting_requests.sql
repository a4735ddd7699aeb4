-- Requests for authority that wait for a person elsewhere (RFC 8628, OpenID Connect CIBA).

-- By the hash of what the client polls with. `agent` may be of a client that nobody has confirmed yet, so that there is
-- no such agent. `user_code` is the hash of the code that a device shows, until somebody has decided; `hint` the hash of
-- whom a client named, whether or not there is such a person. `user_id` is who is asked: in CIBA the one that was named
-- (none where the request is shown to nobody), with a device whoever entered the code last. `consented` is what a
-- person said yes to: the grant and its task come to be when the client comes for them.
CREATE TABLE waiting_requests (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    hash          BYTEA NOT NULL UNIQUE CHECK (LENGTH(hash) = 32),
    through       TEXT COLLATE "C" NOT NULL CHECK (through IN ('device', 'backchannel')),
    agent         TEXT COLLATE "C" NOT NULL,
    user_id       TEXT COLLATE "C" REFERENCES users (id),
    user_code     BYTEA UNIQUE CHECK (LENGTH(user_code) = 32),
    hint          BYTEA CHECK (LENGTH(hint) = 32),
    state         TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'taken', 'ended')),
    document      TEXT COLLATE "C" NOT NULL,
    consented     TEXT COLLATE "C",
    created       BIGINT NOT NULL,
    expires       BIGINT NOT NULL,
    decided       BIGINT,
    poll_interval BIGINT NOT NULL CHECK (poll_interval > 0),
    poll_next     BIGINT NOT NULL,
    CHECK (created < expires),
    CHECK ((through = 'backchannel') = (hint IS NOT NULL)),
    CHECK (state = 'pending' OR user_code IS NULL),
    CHECK ((state IN ('approved', 'taken')) = (consented IS NOT NULL) OR state = 'ended')
);
CREATE INDEX waiting_requests_by_expiry ON waiting_requests (expires);
CREATE INDEX waiting_requests_by_agent ON waiting_requests (agent, expires);
CREATE INDEX waiting_requests_by_user ON waiting_requests (user_id, expires);
CREATE INDEX waiting_requests_by_hint ON waiting_requests (agent, hint, created);
