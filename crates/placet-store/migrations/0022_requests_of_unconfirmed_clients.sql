-- A client that nobody has confirmed yet can push a request too: who it is asked of confirms it. So its agent need not be
-- there. What was pushed lives for minutes; what there is when this comes is pushed again.
DROP TABLE pushed_requests;
CREATE TABLE pushed_requests (
    hash     BYTEA NOT NULL PRIMARY KEY CHECK (LENGTH(hash) = 32),
    agent    TEXT COLLATE "C" NOT NULL,
    query    TEXT COLLATE "C" NOT NULL,
    pushed   BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    decided  BIGINT,
    CHECK (pushed < expires)
);
CREATE INDEX pushed_requests_by_expiry ON pushed_requests (expires);
