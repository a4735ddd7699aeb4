-- Lists of the statuses of tokens, for resource servers that check tokens by themselves.

-- Whether tokens for it say in which list they stand.
ALTER TABLE resource_servers ADD COLUMN status_list BIGINT NOT NULL DEFAULT 0 CHECK (status_list IN (0, 1));
CREATE INDEX resource_servers_with_status_list ON resource_servers (audience) WHERE status_list = 1 AND ended IS NULL;

-- Filled by the process that made it, for a while, and by no other. `issuer` is where its tokens say that it is found.
-- All tokens in it have expired at `ends`. `condemned`: who has which place is no longer known, so that all are over.
CREATE TABLE status_lists (
    id        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    issuer    TEXT COLLATE "C" NOT NULL CHECK (LENGTH(issuer) > 0),
    ends      BIGINT NOT NULL,
    condemned BIGINT NOT NULL CHECK (condemned IN (0, 1))
);
CREATE INDEX status_lists_by_end ON status_lists (ends, id);

-- Which grant the token at a place stands for, and when that token expires. No foreign keys: grants are never deleted,
-- and a list goes after its places.
CREATE TABLE status_places (
    list     TEXT COLLATE "C" NOT NULL,
    place    BIGINT NOT NULL CHECK (place BETWEEN 0 AND 65535),
    grant_id TEXT COLLATE "C" NOT NULL,
    expires  BIGINT NOT NULL,
    PRIMARY KEY (list, place)
);
