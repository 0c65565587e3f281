-- Under which name authenticators know a person: random, so that it says nothing about them.
CREATE TABLE handles (
    principal TEXT PRIMARY KEY,
    handle BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE passkeys (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    -- No two people share one.
    credential BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    name TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    used_at INTEGER,
    -- The public key, its counter and what was attested.
    body TEXT NOT NULL
) STRICT;
CREATE INDEX passkeys_of ON passkeys (principal, seq);

-- What somebody was asked to prove, and until when they may.
CREATE TABLE challenges (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    login TEXT NOT NULL,
    nonce BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX challenges_of ON challenges (principal, seq);

-- Sign-in challenges that were answered, so that each is answered once.
CREATE TABLE spent (
    nonce BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

-- Secrets of one-time codes, sealed by a key that isn't in this file.
CREATE TABLE totps (
    principal TEXT PRIMARY KEY,
    sealed BLOB NOT NULL,
    added_at INTEGER NOT NULL,
    -- Null until a first code has shown that the app has the secret.
    confirmed_at INTEGER,
    used_at INTEGER,
    -- The time step of the last code that was taken: codes of it and before it are used up.
    step INTEGER NOT NULL DEFAULT 0
) STRICT;

-- An administrator wants a person's factors removed; a second one has to agree.
CREATE TABLE recoveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    done_at INTEGER
) STRICT;
