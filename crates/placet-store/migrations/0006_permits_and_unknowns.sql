-- Permits; the end of approvals that nobody used; what became of actions of which nobody knew.

-- A broader answer of a person. What is used of it stands in `counters`, under `permit/prm_…/…`; that it was taken
-- back is compared by the commit point, under `permit/prm_…` of `versions`. Expiry is not stored: it follows from `expires`.
CREATE TABLE permits (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    approval   TEXT COLLATE "C" NOT NULL REFERENCES approvals (id),
    agent      TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    user_id    TEXT COLLATE "C" REFERENCES users (id),
    anchor     TEXT COLLATE "C" NOT NULL REFERENCES grants (id),
    expires    BIGINT NOT NULL,
    revoked_at BIGINT,
    revoked_by TEXT COLLATE "C",
    document   TEXT COLLATE "C" NOT NULL,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX permits_by_agent ON permits (agent, id);
CREATE INDEX permits_by_approval ON permits (approval);

-- How an approval that was not used has ended, once that stands in the record: `expired` or `ended` (its grant).
ALTER TABLE approvals ADD COLUMN closed TEXT COLLATE "C";
CREATE INDEX approvals_open ON approvals (id) WHERE closed IS NULL AND state IN ('pending', 'approved');

-- The entry of the intent, which has name, service and everything else that was asked.
ALTER TABLE actions ADD COLUMN intent TEXT COLLATE "C";
CREATE INDEX actions_unknown ON actions (id) WHERE state = 'unknown';
