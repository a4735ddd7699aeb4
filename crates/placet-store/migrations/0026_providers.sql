-- Identity providers that people sign in with (OpenID Connect), and which of their subjects are users here.

-- `sealed` is the secret that this server shows there; `generation` binds it to this secret of this row. A row stays when
-- the provider is removed, without the secret.
CREATE TABLE providers (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    handle     TEXT COLLATE "C" NOT NULL,
    made_by    TEXT COLLATE "C" NOT NULL,
    created    BIGINT NOT NULL,
    ended      BIGINT,
    document   TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL CHECK (generation > 0),
    sealed     BYTEA CHECK (LENGTH(sealed) > 0),
    CHECK ((sealed IS NULL) = (ended IS NOT NULL))
);
CREATE UNIQUE INDEX providers_live ON providers (handle) WHERE ended IS NULL;

-- They mean nothing any more once their provider has ended.
CREATE TABLE provider_subjects (
    provider TEXT COLLATE "C" NOT NULL REFERENCES providers (id),
    subject  TEXT COLLATE "C" NOT NULL CHECK (LENGTH(subject) > 0),
    user_id  TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    created  BIGINT NOT NULL,
    PRIMARY KEY (provider, subject)
);
CREATE INDEX provider_subjects_by_user ON provider_subjects (user_id, provider);

-- People who are at a provider now, by the keyed hash of what they come back with. `onward` is where they were going here;
-- `session_id` the session to whose person the provider's subject is to be linked, if that is what they left for.
CREATE TABLE sign_ins_elsewhere (
    hash       BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    provider   TEXT COLLATE "C" NOT NULL REFERENCES providers (id),
    onward     TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C",
    expires    BIGINT NOT NULL
);
CREATE INDEX sign_ins_elsewhere_by_expiry ON sign_ins_elsewhere (expires);

-- With what a session began, in place of `began_with`, which knows no providers; and with which provider.
ALTER TABLE sessions ADD COLUMN began_by TEXT COLLATE "C" CHECK (began_by IN ('password', 'password_and_totp',
    'password_and_recovery_code', 'passkey', 'provider', 'provider_and_totp', 'provider_and_recovery_code'));
UPDATE sessions SET began_by = began_with;
ALTER TABLE sessions ADD COLUMN provider TEXT COLLATE "C" REFERENCES providers (id);
CREATE INDEX sessions_by_provider ON sessions (provider, user_id) WHERE provider IS NOT NULL;
