-- Second factors of people: secrets of authenticator apps (RFC 6238), and recovery codes.

-- One a person. It counts from `confirmed` on; until then it may be replaced. `last_step` is the step of the last code
-- that was used: no code of it or of an earlier one is taken again. `generation` binds what is sealed to this enrolment.
CREATE TABLE totp (
    user_id    TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES users (id),
    generation BIGINT NOT NULL CHECK (generation > 0),
    sealed     BYTEA NOT NULL CHECK (LENGTH(sealed) > 0),
    created    BIGINT NOT NULL,
    confirmed  BIGINT,
    last_step  BIGINT
);
CREATE INDEX totp_unconfirmed ON totp (created) WHERE confirmed IS NULL;

-- By the keyed hash of the code.
CREATE TABLE recovery_codes (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    hash    BYTEA NOT NULL CHECK (LENGTH(hash) = 32),
    used    BIGINT,
    PRIMARY KEY (user_id, hash)
);

-- With what the person signed in; none where the session is older than this column.
ALTER TABLE sessions ADD COLUMN began_with TEXT COLLATE "C"
    CHECK (began_with IN ('password', 'password_and_totp', 'password_and_recovery_code', 'passkey'));
