-- What is kept of tasks whose purpose actions are measured by, until nothing can be done for them any more.
-- How often a judge of intent has said no.
CREATE TABLE intent_refusals (
    task     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    refusals BIGINT NOT NULL,
    expires  BIGINT NOT NULL
);
CREATE INDEX intent_refusals_by_expires ON intent_refusals (expires);
-- Keyed hashes of values that services marked as trusted in answers to actions of the task.
CREATE TABLE returned_values (
    task    TEXT COLLATE "C" NOT NULL,
    value   BYTEA NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (task, value)
);
CREATE INDEX returned_values_by_expires ON returned_values (expires);
