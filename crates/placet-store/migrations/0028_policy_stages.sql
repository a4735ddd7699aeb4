-- Versions of policies that some agents have before all others do. The texts are among `policies`, not active.
CREATE TABLE policy_stages (
    name      TEXT COLLATE "C" NOT NULL,
    version   BIGINT NOT NULL,
    stage     TEXT COLLATE "C" NOT NULL,
    staged    BIGINT NOT NULL,
    staged_by TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (name)
);
