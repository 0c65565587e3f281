-- What people are to be told: one row per channel and recipient, written with the change that it tells
-- of. A row is settled once somebody took the message; it is then kept for a while, to be sent again.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The message's id: the same in every try.
    id TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    -- A person's key, where the channel reaches each by themselves.
    recipient TEXT,
    topic TEXT NOT NULL,
    about TEXT NOT NULL,
    written_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'dead')),
    tries INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    settled_at INTEGER,
    -- Why the last try failed.
    fault TEXT,
    notice TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (channel, due_at) WHERE state = 'waiting';
CREATE INDEX outbox_oldest ON outbox (written_at) WHERE state = 'waiting';
CREATE INDEX outbox_dead ON outbox (seq) WHERE state = 'dead';
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;

-- Channels whose receiver said that it is gone for good.
CREATE TABLE channels_off (
    channel TEXT PRIMARY KEY,
    off_at INTEGER NOT NULL
) STRICT;

-- What people were reminded of, so that they are reminded once.
CREATE TABLE reminders (
    about TEXT NOT NULL,
    topic TEXT NOT NULL,
    -- The end or the round that it was about.
    of_at INTEGER NOT NULL,
    PRIMARY KEY (about, topic, of_at)
) STRICT;

-- An address that the issuer says it has verified: where mail reaches somebody, never who they are.
ALTER TABLE people ADD COLUMN email TEXT;
