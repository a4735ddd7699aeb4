-- What running a server needs: a row to try writing with, and where the erasing of old bodies has got to.

CREATE TABLE probes (
    name TEXT COLLATE "C" PRIMARY KEY,
    at BIGINT NOT NULL
);

-- Up to which entry of each node the bodies whose time is over have been erased.
CREATE TABLE record_erased (
    node TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL
);
CREATE INDEX actions_concluded ON actions (concluded) WHERE state IN ('done', 'failed');
CREATE INDEX sessions_by_expiry ON sessions (expires);
