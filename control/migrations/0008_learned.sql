-- What sources outside have said last: who is on call, and how tickets stand.
CREATE TABLE learned (
    kind TEXT NOT NULL CHECK (kind IN ('roster', 'ticket')),
    name TEXT NOT NULL,
    said TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
CREATE INDEX learned_at ON learned (at);
