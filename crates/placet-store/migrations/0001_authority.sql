-- Who there is and what they may do: agents, people, tasks, grants, approvals, policies, services, connections.
--
-- One text for SQLite and PostgreSQL: TEXT COLLATE "C", BIGINT and BYTEA only. Times are microseconds since the
-- epoch, booleans 0 or 1. `document` is JSON of the core type; where a member also has a column, the column counts.
-- Constraints are checked per statement, never at commit: one caller's mistake must not fail a group commit.

-- A row is never deleted, so the handle of an ended agent stays taken.
-- `registration` is no foreign key: the grant names the agent, and is made after it in the same transaction.
CREATE TABLE agents (
    id                 TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    handle             TEXT COLLATE "C" NOT NULL UNIQUE CHECK (LENGTH(handle) BETWEEN 1 AND 64),
    state              TEXT COLLATE "C" NOT NULL CHECK (state IN ('inactive', 'active', 'suspended', 'ended')),
    version            BIGINT NOT NULL CHECK (version >= 0),
    registration       TEXT COLLATE "C" NOT NULL UNIQUE,
    secret             BYTEA NOT NULL CHECK (LENGTH(secret) = 32),
    registration_token BYTEA NOT NULL CHECK (LENGTH(registration_token) = 32),
    document           TEXT COLLATE "C" NOT NULL
);

CREATE TABLE users (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name     TEXT COLLATE "C" NOT NULL UNIQUE CHECK (LENGTH(name) BETWEEN 1 AND 64),
    password TEXT COLLATE "C" NOT NULL CHECK (LENGTH(password) > 0),
    made_by  TEXT COLLATE "C" NOT NULL,
    created  BIGINT NOT NULL,
    version  BIGINT NOT NULL CHECK (version >= 0)
);

CREATE TABLE user_roles (
    user_id  TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    role     TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user_id, role)
);
CREATE INDEX user_roles_by_role ON user_roles (role);

CREATE TABLE sessions (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    token   BYTEA NOT NULL UNIQUE CHECK (LENGTH(token) = 32),
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    ended   BIGINT,
    CHECK (created < expires)
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);

-- Expiry is not stored as a state: it follows from `expires`.
CREATE TABLE tasks (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    agent    TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    user_id  TEXT COLLATE "C" REFERENCES users (id),
    label    TEXT COLLATE "C" CHECK (LENGTH(label) BETWEEN 1 AND 128),
    parent   TEXT COLLATE "C" REFERENCES tasks (id),
    state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'completed', 'revoked')),
    document TEXT COLLATE "C" NOT NULL,
    CHECK (parent IS NULL OR parent <> id)
);
-- A label is unique within (agent, user), and NULLs are never equal in an index: hence two.
CREATE UNIQUE INDEX tasks_label_with_user ON tasks (agent, user_id, label)
    WHERE user_id IS NOT NULL AND label IS NOT NULL;
CREATE UNIQUE INDEX tasks_label_without_user ON tasks (agent, label)
    WHERE user_id IS NULL AND label IS NOT NULL;
CREATE INDEX tasks_by_agent ON tasks (agent, id);
CREATE INDEX tasks_by_user ON tasks (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX tasks_by_parent ON tasks (parent, id) WHERE parent IS NOT NULL;

CREATE TABLE grants (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    root           TEXT COLLATE "C" NOT NULL REFERENCES grants (id),
    parent         TEXT COLLATE "C" REFERENCES grants (id),
    depth          BIGINT NOT NULL CHECK (depth BETWEEN 0 AND 255),
    agent          TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    user_id        TEXT COLLATE "C" REFERENCES users (id),
    task           TEXT COLLATE "C" REFERENCES tasks (id),
    origin         TEXT COLLATE "C" NOT NULL
                   CHECK (origin IN ('registration', 'person', 'agent', 'parent_token', 'delegation')),
    expires        BIGINT NOT NULL,
    revoked_at     BIGINT,
    revoked_by     TEXT COLLATE "C",
    revoked_reason TEXT COLLATE "C",
    document       TEXT COLLATE "C" NOT NULL,
    -- A root is what hangs from nothing, and only registration and people make roots.
    CHECK ((parent IS NULL) = (depth = 0)),
    CHECK ((parent IS NULL) = (root = id)),
    CHECK ((parent IS NULL) = (origin IN ('registration', 'person'))),
    CHECK (origin <> 'registration' OR (task IS NULL AND user_id IS NULL)),
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
    CHECK (revoked_at IS NOT NULL OR revoked_reason IS NULL)
);
CREATE UNIQUE INDEX grants_registration ON grants (agent) WHERE origin = 'registration';
CREATE INDEX grants_by_parent ON grants (parent, id);
CREATE INDEX grants_by_root ON grants (root, id);
CREATE INDEX grants_by_agent ON grants (agent, id);
CREATE INDEX grants_by_task ON grants (task, id);
CREATE INDEX grants_by_user ON grants (user_id, expires) WHERE user_id IS NOT NULL;

-- Read by the commit point too. Expiry is not stored as a state: it follows from `expires`.
CREATE TABLE approvals (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    agent    TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    grant_id TEXT COLLATE "C" NOT NULL REFERENCES grants (id),
    task     TEXT COLLATE "C" REFERENCES tasks (id),
    user_id  TEXT COLLATE "C" REFERENCES users (id),
    digest   BYTEA NOT NULL CHECK (LENGTH(digest) = 32),
    state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'used')),
    expires  BIGINT NOT NULL,
    version  BIGINT NOT NULL CHECK (version > 0),
    document TEXT COLLATE "C" NOT NULL
);
CREATE INDEX approvals_by_request ON approvals (agent, state, digest);
CREATE INDEX approvals_by_state ON approvals (state, id);

-- Every version that was ever applied is kept: decisions name them.
CREATE TABLE policies (
    name       TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL CHECK (version > 0),
    source     TEXT COLLATE "C" NOT NULL,
    applied    BIGINT NOT NULL,
    applied_by TEXT COLLATE "C" NOT NULL,
    active     BIGINT NOT NULL CHECK (active IN (0, 1)),
    PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX policies_active ON policies (name) WHERE active = 1;

CREATE TABLE services (
    name       TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL CHECK (version > 0),
    source     TEXT COLLATE "C" NOT NULL,
    applied    BIGINT NOT NULL,
    applied_by TEXT COLLATE "C" NOT NULL,
    active     BIGINT NOT NULL CHECK (active IN (0, 1)),
    PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX services_active ON services (name) WHERE active = 1;

-- `service` is a name, not a row: a service's versions come and go under its connections.
CREATE TABLE connections (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE CHECK (LENGTH(name) > 0),
    service    TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" REFERENCES users (id),
    agents     TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL CHECK (generation > 0),
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'needs_attention')),
    sealed     BYTEA NOT NULL CHECK (LENGTH(sealed) > 0),
    document   TEXT COLLATE "C" NOT NULL
);
CREATE INDEX connections_by_service ON connections (service, id);

-- Delegation tokens that were used, until they would have expired anyway.
CREATE TABLE spent_delegations (
    jti     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX spent_delegations_by_expiry ON spent_delegations (expires);

-- Issuers that this data directory has used; their tokens stay valid.
CREATE TABLE issuers (
    issuer TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    first_used BIGINT NOT NULL
);
