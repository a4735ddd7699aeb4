-- Bodies that a policy keeps for a time of their own are found by it.
CREATE INDEX record_bodies_by_time ON record_bodies (keep_until) WHERE keep_until IS NOT NULL;
