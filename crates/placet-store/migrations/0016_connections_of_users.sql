-- Whose a connection is: what a grant of theirs reaches is shown to them.
CREATE INDEX connections_by_user ON connections (user_id, id);
