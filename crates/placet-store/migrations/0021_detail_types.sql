-- Types of authorization details that an administrator declared (RFC 9396).
CREATE TABLE detail_types (
    name     TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (LENGTH(name) BETWEEN 1 AND 256),
    document TEXT COLLATE "C" NOT NULL
);
