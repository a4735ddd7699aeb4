-- When clients that nobody registered by hand were used last, by the day: those that fall out of use end.

-- The beginning of that day. NULL: an administrator made it, and it stays. 0: it was there before uses were noted, and
-- its time begins when a server first looks.
ALTER TABLE clients ADD COLUMN last_used BIGINT;
CREATE INDEX clients_by_use ON clients (last_used) WHERE last_used IS NOT NULL;

-- Agents of documents that people confirmed have an id without a time, and those that an administrator registered have one.
UPDATE clients SET last_used = 0
WHERE origin = 'registration' OR (origin = 'document' AND agent LIKE 'agt_0000000000%');
