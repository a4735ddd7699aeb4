-- The keys of the installation, so that every node has the same and they can be rotated.
--
-- `id` is `purpose/name`; each key is sealed by a vault key and bound to its id. A key that is `next` is published
-- but does not sign yet; one that is `retired` does not sign any more, and goes when `until_at` is over (never, where
-- that is NULL: bodies stay readable).
CREATE TABLE keys (
    id        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    purpose   TEXT COLLATE "C" NOT NULL
              CHECK (purpose IN ('token', 'record', 'hash', 'approval', 'body', 'admin')),
    state     TEXT COLLATE "C" NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    algorithm TEXT COLLATE "C",
    sealed    BYTEA NOT NULL CHECK (LENGTH(sealed) > 0),
    created   BIGINT NOT NULL,
    since     BIGINT NOT NULL,
    until_at  BIGINT,
    CHECK (until_at IS NULL OR state = 'retired')
);
CREATE UNIQUE INDEX keys_active ON keys (purpose) WHERE state = 'active';
CREATE UNIQUE INDEX keys_next ON keys (purpose) WHERE state = 'next';

-- Which vault keys there are, by their ids; the keys themselves are never here. `active` seals, something may still be
-- sealed by one that is `retiring`, nothing is by one that is `retired`.
CREATE TABLE vault_keys (
    id    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'retiring', 'retired')),
    since BIGINT NOT NULL
);
CREATE UNIQUE INDEX vault_keys_active ON vault_keys (state) WHERE state = 'active';

-- Which vault keys each running node has, as it said last: ids with spaces between.
CREATE TABLE vault_holders (
    node TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    keys TEXT COLLATE "C" NOT NULL,
    seen BIGINT NOT NULL
);
