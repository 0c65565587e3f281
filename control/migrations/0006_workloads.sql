-- Tokens that workloads have shown, so that one works for the key that it was first shown with only.
CREATE TABLE exchanges (
    -- SHA-256 of what the issuer signed.
    token BLOB PRIMARY KEY,
    -- SHA-256 of the public key of the certificates that were issued for it.
    key BLOB NOT NULL,
    workload TEXT NOT NULL,
    times INTEGER NOT NULL,
    -- When the token is of no use any more.
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX exchanges_expiring ON exchanges (expires_at);
