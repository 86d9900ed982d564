-- Version 1 of the SQLite store. Numbers are 64 bits; what is unsigned is stored as the signed number of the same bits.

-- A row for each segment: all but its messages, dense, so that what looks for a number or a time reads little.
CREATE TABLE heads (
    first INTEGER PRIMARY KEY,  -- number of its first message
    position INTEGER NOT NULL,
    count INTEGER NOT NULL,     -- numbers it has
    at_us INTEGER NOT NULL,     -- grows with `first`
    minute INTEGER NOT NULL,    -- (minute, generator) grow with `first`
    generator INTEGER NOT NULL,
    bytes INTEGER NOT NULL,     -- of body and set_off
    voids BLOB NOT NULL,        -- see store/encode.rs
    shares BLOB NOT NULL        -- see store/encode.rs
);

-- The messages of each segment.
CREATE TABLE bodies (
    position INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    body BLOB NOT NULL,
    set_off BLOB NOT NULL
);

CREATE TABLE topics (
    id INTEGER PRIMARY KEY,     -- from 1 on
    realm TEXT NOT NULL,
    name TEXT NOT NULL,
    broad_until INTEGER NOT NULL, -- no broad segment behind this number holds it
    UNIQUE (realm, name)
);

-- Which segments hold a topic. A segment of more topics than it is worth to index, a broad one, stands here once, with topic 0.
CREATE TABLE holds (
    topic INTEGER NOT NULL,
    first INTEGER NOT NULL,
    PRIMARY KEY (topic, first)
) WITHOUT ROWID;

CREATE TABLE state (
    key BLOB PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- How many segments there are up to the number `until`, and their bytes, so that nobody has to count them all. One row.
CREATE TABLE counted (
    until INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
INSERT INTO counted VALUES (0, 0, 0);

-- "fnnc" in ASCII.
PRAGMA application_id = 1718513251;
PRAGMA user_version = 1;
