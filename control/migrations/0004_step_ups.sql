-- Proofs by which people stepped up, each for one act. The proof itself is in the audit event of the
-- same id.
CREATE TABLE step_ups (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX step_ups_for ON step_ups (principal, subject, at);
