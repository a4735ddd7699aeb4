-- What the MCP server of a service said of its tools when it last said something else than before: which of those that
-- were accepted can be called follows from it.
CREATE TABLE listed_tools (
    service TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    server  TEXT COLLATE "C" NOT NULL,
    tools   TEXT COLLATE "C" NOT NULL,
    seen    BIGINT NOT NULL
);
