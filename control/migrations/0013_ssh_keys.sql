-- Public SSH keys that people registered themselves.
CREATE TABLE ssh_keys (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    name TEXT NOT NULL,
    -- As OpenSSH writes one, without a comment.
    line TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    -- Whether a security key checked who touched it, when it was added; null where it is none.
    user_verified INTEGER,
    added_at INTEGER NOT NULL,
    -- Null until its person has agreed to it: it opens nothing before.
    confirmed_at INTEGER,
    used_at INTEGER,
    -- A key that opened something and was removed never comes back.
    removed_at INTEGER
) STRICT;
CREATE INDEX ssh_keys_of ON ssh_keys (principal, seq);
-- A key is one person's, for good.
CREATE UNIQUE INDEX ssh_keys_once ON ssh_keys (line) WHERE confirmed_at IS NOT NULL;
CREATE INDEX ssh_keys_by ON ssh_keys (fingerprint) WHERE confirmed_at IS NOT NULL;
