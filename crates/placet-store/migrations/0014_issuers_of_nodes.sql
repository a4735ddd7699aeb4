-- The issuer that each running node serves as, as it said last; none of one of an older version.
ALTER TABLE vault_holders ADD COLUMN issuer TEXT COLLATE "C";
