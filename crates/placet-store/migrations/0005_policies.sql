-- What policies came to need: leases, what observed policies would have said, how long bodies are kept.

-- Actions that are under way under a limit on how many may be at the same time.
CREATE TABLE leases (
    counter TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    until_at BIGINT NOT NULL,
    PRIMARY KEY (counter, action)
);
CREATE INDEX leases_by_end ON leases (until_at);

-- What policies in `mode: observe` would have said, counted. `would` and `decision` are verdicts; `agent` is empty
-- in the row that counts what found no room in a row of its own.
CREATE TABLE observations (
    policy TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    would TEXT COLLATE "C" NOT NULL CHECK (would IN ('allow', 'hold', 'deny')),
    code TEXT COLLATE "C" NOT NULL,
    decision TEXT COLLATE "C" NOT NULL CHECK (decision IN ('allow', 'deny')),
    count BIGINT NOT NULL CHECK (count > 0),
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (policy, version, rule, action, agent, would, code, decision)
);

-- Until when a body is kept; NULL is the installation's default.
ALTER TABLE record_bodies ADD COLUMN keep_until BIGINT;
