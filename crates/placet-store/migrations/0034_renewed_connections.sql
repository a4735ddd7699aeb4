-- What a parked connection waits for, and until when somebody is renewing the token of one.
ALTER TABLE connections ADD COLUMN attention TEXT COLLATE "C";
ALTER TABLE connections ADD COLUMN renewing BIGINT NOT NULL DEFAULT 0;
