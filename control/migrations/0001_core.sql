-- Instants are milliseconds since 1970. Bodies are the domain's own JSON; the columns beside them
-- are what is searched by.

-- The revision of the last publication, so that it never goes back.
CREATE TABLE feed (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO feed (one, revision) VALUES (1, 0);

CREATE TABLE requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    resource TEXT NOT NULL,
    state TEXT NOT NULL,
    lapses_at INTEGER NOT NULL,
    source TEXT,
    body TEXT NOT NULL
) STRICT;
-- One pending request for one thing of one person.
CREATE UNIQUE INDEX requests_pending ON requests (principal, resource) WHERE state = 'pending';
CREATE INDEX requests_lapsing ON requests (lapses_at) WHERE state = 'pending';
CREATE INDEX requests_of ON requests (principal, seq);

CREATE TABLE grants (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    request TEXT NOT NULL UNIQUE REFERENCES requests (id),
    principal TEXT NOT NULL,
    resource TEXT NOT NULL,
    -- Null where it is over.
    deadline INTEGER,
    ended_at INTEGER,
    body TEXT NOT NULL
) STRICT;
-- One live grant for one thing of one person.
CREATE UNIQUE INDEX grants_live ON grants (principal, resource) WHERE deadline IS NOT NULL;
CREATE INDEX grants_ending ON grants (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX grants_of ON grants (principal, seq);

CREATE TABLE locks (
    id TEXT PRIMARY KEY,
    until INTEGER,
    lifted_at INTEGER,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE tokens (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    resource TEXT NOT NULL,
    device TEXT,
    digest BLOB NOT NULL,
    minted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- Null where uses aren't counted.
    uses_left INTEGER CHECK (uses_left >= 0),
    revoked_at INTEGER
) STRICT;

CREATE TABLE invites (
    digest BLOB PRIMARY KEY,
    principal TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER
) STRICT;

CREATE TABLE logins (
    digest BLOB PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    device TEXT,
    signed_in_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    "grant" TEXT NOT NULL,
    principal TEXT NOT NULL,
    name TEXT NOT NULL,
    authn TEXT NOT NULL,
    resource TEXT NOT NULL,
    client TEXT NOT NULL,
    application TEXT NOT NULL,
    proxy TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    ended_at INTEGER,
    -- Nobody told of the end: it was assumed, and a report may still correct it.
    assumed INTEGER NOT NULL DEFAULT 0,
    "end" TEXT,
    detail TEXT,
    bytes_in INTEGER NOT NULL DEFAULT 0,
    bytes_out INTEGER NOT NULL DEFAULT 0,
    statements INTEGER NOT NULL DEFAULT 0,
    head TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX sessions_of ON sessions (principal, seq);
CREATE INDEX sessions_by_grant ON sessions ("grant", seq);
CREATE INDEX sessions_live ON sessions (seq) WHERE ended_at IS NULL;

-- What was reported, so that a report counts once.
CREATE TABLE happenings (
    id TEXT PRIMARY KEY,
    received_at INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_edited BEFORE UPDATE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is only ever added to'); END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is only ever added to'); END;
