-- The networks and devices that people came by when they proved who they are.
CREATE TABLE seen (
    principal TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('network', 'device')),
    what TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (principal, kind, what)
) STRICT;
CREATE INDEX seen_last ON seen (last_at);

-- What failed lately with something of a person's.
CREATE TABLE failures (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    principal TEXT NOT NULL,
    at INTEGER NOT NULL,
    what TEXT NOT NULL
) STRICT;
CREATE INDEX failures_of ON failures (principal, at);
CREATE INDEX failures_at ON failures (at);

-- What was unusual when it was asked, as JSON; null where nothing was.
ALTER TABLE requests ADD COLUMN risk TEXT;

-- A session that ends by an act takes those with it that it let in.
CREATE INDEX logins_by ON logins (opened_by) WHERE ended_at IS NULL;
