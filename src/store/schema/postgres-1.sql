-- Version 1 of the PostgreSQL store: the tables of sqlite-1.sql, in a schema of its own, which the search path names.
-- What differs: entries of an index are bounded, so long keys and names are indexed by how they begin.

CREATE TABLE store (
    version BIGINT NOT NULL,
    generation BIGINT NOT NULL  -- counts the brokers that opened it
);
INSERT INTO store VALUES (1, 0);

CREATE TABLE heads (
    first BIGINT PRIMARY KEY,
    position BIGINT NOT NULL,
    count BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    minute BIGINT NOT NULL,
    generator BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    voids BYTEA NOT NULL,
    shares BYTEA NOT NULL
);

CREATE TABLE bodies (
    position BIGINT PRIMARY KEY,
    first BIGINT NOT NULL,
    body BYTEA NOT NULL,
    set_off BYTEA NOT NULL
);
-- Trying to make messages smaller takes longer than writing them.
ALTER TABLE bodies ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN set_off SET STORAGE EXTERNAL;

CREATE TABLE topics (
    id BIGINT PRIMARY KEY,
    realm TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    broad_until BIGINT NOT NULL
);
CREATE INDEX topics_by_name ON topics (realm, left(name, 250));

CREATE TABLE holds (
    topic BIGINT NOT NULL,
    first BIGINT NOT NULL,
    PRIMARY KEY (topic, first)
);

CREATE TABLE state (
    key BYTEA NOT NULL,
    value BYTEA NOT NULL
);
-- The hash tells long keys apart that begin alike.
CREATE UNIQUE INDEX state_by_key ON state
    (substring(key, 1, 1000), (CASE WHEN length(key) > 1000 THEN sha256(key) ELSE ''::bytea END));

CREATE TABLE counted (
    until BIGINT NOT NULL,
    segments BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
INSERT INTO counted VALUES (0, 0, 0);
