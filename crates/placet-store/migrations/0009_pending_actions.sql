-- What is in flight is looked for in the order of ids, and must not be looked for among all that ever ran.
CREATE INDEX actions_pending ON actions (id) WHERE state = 'pending';
