-- Login sessions are kept after their end, so that a person sees them and evidence can name them.
CREATE TABLE logins_kept (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    -- Of the one token in force; null once the session is over.
    digest BLOB UNIQUE,
    principal TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('browser', 'terminal')),
    rank TEXT NOT NULL CHECK (rank IN ('enrolling', 'full')),
    method TEXT NOT NULL,
    device TEXT,
    -- The session at an identity provider that it came from.
    issuer TEXT,
    subject TEXT,
    sid TEXT,
    -- The session in which its person let this one in, as a browser does for a terminal.
    opened_by TEXT,
    address TEXT,
    agent TEXT NOT NULL DEFAULT '',
    signed_in_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    -- The end unless it is seen again; null where only the last end counts.
    idle_at INTEGER,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    why TEXT
) STRICT;
INSERT INTO logins_kept
    (id, digest, principal, kind, rank, method, device, signed_in_at, seen_at, expires_at)
SELECT id, digest, principal, 'terminal', 'full', 'link', device, signed_in_at, signed_in_at, expires_at
FROM logins;
DROP TABLE logins;
ALTER TABLE logins_kept RENAME TO logins;
CREATE INDEX logins_of ON logins (principal, seq);
CREATE INDEX logins_at ON logins (issuer, subject) WHERE ended_at IS NULL;
CREATE INDEX logins_ending ON logins (min(coalesce(idle_at, expires_at), expires_at))
WHERE ended_at IS NULL;

-- What a certificate was issued to, so that it dies with its login session.
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    login TEXT,
    principal TEXT NOT NULL,
    device TEXT,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX certificates_of ON certificates (login) WHERE revoked_at IS NULL;

ALTER TABLE tokens ADD COLUMN login TEXT;
CREATE INDEX tokens_of ON tokens (login) WHERE revoked_at IS NULL;

-- The story of one thing is read from the log by these.
CREATE INDEX audit_about ON audit (subject, id);
CREATE INDEX audit_by ON audit (actor, id);
