-- Several nodes on one database: whose an action is, which process a node is, and what they take turns at.

-- The node that admitted it: only that one ends what its crash left in flight. Rows that were concluded before keep
-- none; until now there was one node in a database, so those in flight are that one's.
ALTER TABLE actions ADD COLUMN node TEXT COLLATE "C";
UPDATE actions SET node = (SELECT MAX(node) FROM batches) WHERE state = 'pending';

-- The process that writes as this node; another one that opens the database as the same node takes it over.
ALTER TABLE batches ADD COLUMN run BYTEA;

-- One row. Who runs closures of the control plane holds it: on all nodes one at a time.
CREATE TABLE control (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1)
);
INSERT INTO control (one) VALUES (1);

-- One row. The log's size, which a sequencer compares and sets before it writes anything else.
CREATE TABLE record_size (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    size BIGINT NOT NULL CHECK (size >= 0)
);
INSERT INTO record_size (one, size) SELECT 1, COALESCE(MAX(size), 0) FROM record_checkpoints;
