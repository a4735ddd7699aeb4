-- Who has ended the trust in an issuer, while grants that were made on its word are still being revoked: there may be many, and
-- none of the steps takes long. Whoever is cut off goes on from here.
ALTER TABLE trusted_issuers ADD COLUMN ending_by TEXT COLLATE "C";
CREATE INDEX trusted_issuers_ending ON trusted_issuers (id) WHERE ending_by IS NOT NULL;
