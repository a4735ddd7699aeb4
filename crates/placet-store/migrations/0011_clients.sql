-- What agents are as OAuth clients, registrations that nobody has confirmed, what was presented once and may not come
-- again, and the issuers whose word counts.

-- An agent without a row is a client with a secret of which nothing was said. `url` is the client_id of one whose
-- metadata is a document at that place, and stays taken when its agent has ended.
CREATE TABLE clients (
    agent        TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES agents (id),
    origin       TEXT COLLATE "C" NOT NULL CHECK (origin IN ('administrator', 'registration', 'document')),
    url          TEXT COLLATE "C" UNIQUE CHECK (LENGTH(url) BETWEEN 1 AND 2048),
    access_token BYTEA CHECK (LENGTH(access_token) = 32),
    document     TEXT COLLATE "C" NOT NULL,
    CHECK ((origin = 'document') = (url IS NOT NULL)),
    CHECK (access_token IS NULL OR origin = 'registration')
);

-- Clients that registered themselves and that no person has confirmed: there is no agent yet, and no authority.
CREATE TABLE registrations (
    id                 TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret             BYTEA NOT NULL CHECK (LENGTH(secret) = 32),
    registration_token BYTEA NOT NULL CHECK (LENGTH(registration_token) = 32),
    access_token       BYTEA NOT NULL CHECK (LENGTH(access_token) = 32),
    created            BIGINT NOT NULL,
    expires            BIGINT NOT NULL,
    document           TEXT COLLATE "C" NOT NULL
);
CREATE INDEX registrations_by_expiry ON registrations (expires);

-- How many came from an address in an hour.
CREATE TABLE registration_counts (
    address TEXT COLLATE "C" NOT NULL,
    hour    BIGINT NOT NULL,
    made    BIGINT NOT NULL CHECK (made > 0),
    PRIMARY KEY (address, hour)
);
CREATE INDEX registration_counts_by_hour ON registration_counts (hour);

-- What clients that nobody registered by hand may have, as an administrator said.
CREATE TABLE registration_template (
    one      BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    set_by   TEXT COLLATE "C" NOT NULL,
    set_at   BIGINT NOT NULL,
    document TEXT COLLATE "C" NOT NULL
);

-- Assertions of others that were presented: a hash of who made one, for what, and its `jti`.
CREATE TABLE assertions (
    hash    BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    expires BIGINT NOT NULL
);
CREATE INDEX assertions_by_expiry ON assertions (expires);

-- A row is never deleted, so that what was done on the word of an issuer can be told later.
CREATE TABLE trusted_issuers (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    issuer   TEXT COLLATE "C" NOT NULL CHECK (LENGTH(issuer) BETWEEN 1 AND 2048),
    made_by  TEXT COLLATE "C" NOT NULL,
    created  BIGINT NOT NULL,
    ended    BIGINT,
    document TEXT COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX trusted_issuers_issuer ON trusted_issuers (issuer) WHERE ended IS NULL;

-- Whom an issuer means by a subject: a person or an agent.
CREATE TABLE trusted_subjects (
    issuer  TEXT COLLATE "C" NOT NULL REFERENCES trusted_issuers (id),
    subject TEXT COLLATE "C" NOT NULL CHECK (LENGTH(subject) BETWEEN 1 AND 1024),
    user_id TEXT COLLATE "C" REFERENCES users (id),
    agent   TEXT COLLATE "C" REFERENCES agents (id),
    PRIMARY KEY (issuer, subject),
    CHECK ((user_id IS NULL) <> (agent IS NULL))
);
