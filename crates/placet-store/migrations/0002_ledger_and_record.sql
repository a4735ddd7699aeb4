-- The ledger (versions, counters, actions, idempotency keys) and the record.
-- Written for PostgreSQL; `migrate.rs` puts SQLite's types in. Times are microseconds, amounts units or millionths.

-- What the commit point compares: `lineage/gnt_…`, `agent/agt_…`, `policies`, `service/…`, `connection/con_…`.
CREATE TABLE versions (
    key TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL
);

-- The last batch that each node committed: a batch whose commit was lost is never applied twice.
CREATE TABLE batches (
    node TEXT COLLATE "C" PRIMARY KEY,
    batch BIGINT NOT NULL
);

-- What is used of each limit in each window.
CREATE TABLE counters (
    counter TEXT COLLATE "C" NOT NULL,
    window_start BIGINT NOT NULL,
    window_end BIGINT NOT NULL,
    used BIGINT NOT NULL CHECK (used >= 0),
    PRIMARY KEY (counter, window_start)
);
CREATE INDEX counters_by_end ON counters (window_end);

-- Every admitted action. `charges` is what it may give back; `idempotency` the scope of its key.
CREATE TABLE actions (
    id TEXT COLLATE "C" PRIMARY KEY,
    agent TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C",
    root_id TEXT COLLATE "C" NOT NULL,
    grant_id TEXT COLLATE "C" NOT NULL,
    task TEXT COLLATE "C",
    connection TEXT COLLATE "C",
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'unknown')),
    status BIGINT,
    admitted BIGINT NOT NULL,
    concluded BIGINT,
    charges BYTEA,
    idempotency BYTEA
);
CREATE INDEX actions_in_flight ON actions (root_id) WHERE state = 'pending';

-- Idempotency keys: scope = digest of (agent, user, connection, key). The answer is sealed by the caller.
CREATE TABLE idempotency_keys (
    scope BYTEA PRIMARY KEY,
    digest BYTEA NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'unknown')),
    answer BYTEA,
    expires BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires);

-- Equal denials that were answered since the last one that was written down. `sample` is that one's leaf.
CREATE TABLE denials (
    key BYTEA PRIMARY KEY,
    sample BYTEA NOT NULL,
    count BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL
);
CREATE INDEX denials_by_end ON denials (until_at);

-- What each node wrote, gap-free and chained. No foreign keys: they would lock hot parent rows.
CREATE TABLE record_entries (
    node TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    agent TEXT COLLATE "C",
    leaf BYTEA NOT NULL,
    leaf_hash BYTEA NOT NULL,
    chain_hash BYTEA NOT NULL,
    PRIMARY KEY (node, seq)
);
CREATE INDEX record_entries_by_id ON record_entries (id);

-- Sealed bodies beside the entries; erasing one touches no proof.
CREATE TABLE record_bodies (
    node TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (node, seq)
);

-- The last entry of each node with its signature, one for every batch; only the newest is kept.
CREATE TABLE record_heads (
    node TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    signature TEXT NOT NULL
);

-- Where in the one log each node's entries lie: `count` entries from index `first` are the node's from `first_seq`.
CREATE TABLE record_runs (
    first BIGINT PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL,
    first_seq BIGINT NOT NULL,
    count BIGINT NOT NULL
);
CREATE INDEX record_runs_by_node ON record_runs (node, first_seq);

-- Hashes of the tree, 256 to a tile; the last tile of a level grows until it is full.
CREATE TABLE record_tiles (
    level BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, idx)
);

-- Signed sizes of the log: the newest, and the last one of each hour before.
CREATE TABLE record_checkpoints (
    size BIGINT PRIMARY KEY,
    note TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX record_checkpoints_by_time ON record_checkpoints (at);
