-- Whether a client may act for itself: an administrator registered or confirmed it. One that a person confirmed by
-- consenting acts for people only.
ALTER TABLE clients ADD COLUMN acts_alone BIGINT NOT NULL DEFAULT 1 CHECK (acts_alone IN (0, 1));
