-- Passkeys of people (Web Authentication): what an authenticator made, by our id and by its own.

CREATE TABLE passkeys (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    credential      BYTEA NOT NULL UNIQUE CHECK (LENGTH(credential) BETWEEN 1 AND 1023),
    key             BYTEA NOT NULL CHECK (LENGTH(key) > 0),
    sign_count      BIGINT NOT NULL CHECK (sign_count >= 0),
    backup_eligible BIGINT NOT NULL CHECK (backup_eligible IN (0, 1)),
    name            TEXT COLLATE "C" NOT NULL CHECK (LENGTH(name) BETWEEN 1 AND 64),
    created         BIGINT NOT NULL,
    used            BIGINT
);
CREATE INDEX passkeys_by_user ON passkeys (user_id, id);

-- Challenges that were answered, by their hash: each is good once. A row stays until its challenge is too old anyway.
CREATE TABLE used_challenges (
    hash    BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    expires BIGINT NOT NULL
);
CREATE INDEX used_challenges_by_expiry ON used_challenges (expires);
