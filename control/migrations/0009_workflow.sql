-- A request may ask for several things, and each becomes a grant of its own.
CREATE TABLE grants_kept (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    request TEXT NOT NULL REFERENCES requests (id),
    principal TEXT NOT NULL,
    resource TEXT NOT NULL,
    -- When time changes it next; null where it is over.
    deadline INTEGER,
    ended_at INTEGER,
    -- The ticket of its request, so that closing that ends it.
    ticket TEXT,
    body TEXT NOT NULL
) STRICT;
INSERT INTO grants_kept (seq, id, request, principal, resource, deadline, ended_at, body)
SELECT seq, id, request, principal, resource, deadline, ended_at, body FROM grants;
DROP TABLE grants;
ALTER TABLE grants_kept RENAME TO grants;
-- One live grant for one thing of one person.
CREATE UNIQUE INDEX grants_live ON grants (principal, resource) WHERE deadline IS NOT NULL;
CREATE INDEX grants_ending ON grants (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX grants_of ON grants (principal, seq);
CREATE INDEX grants_by ON grants (request);
CREATE INDEX grants_for ON grants (ticket) WHERE ticket IS NOT NULL AND deadline IS NOT NULL;

ALTER TABLE requests ADD COLUMN ticket TEXT;
CREATE INDEX requests_for ON requests (ticket) WHERE ticket IS NOT NULL AND state = 'pending';
-- When others may stand in for those who are asked, where somebody may.
ALTER TABLE requests ADD COLUMN escalates_at INTEGER;
CREATE INDEX requests_escalating ON requests (escalates_at)
WHERE escalates_at IS NOT NULL AND state = 'pending';

-- What was done in an emergency, until somebody else has looked at it.
CREATE TABLE reviews (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    "grant" TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'signed')),
    body TEXT NOT NULL
) STRICT;
CREATE INDEX reviews_open ON reviews (seq) WHERE state = 'open';

-- Messages that were taken from other systems, so that each counts once.
CREATE TABLE webhooks_taken (
    id TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX webhooks_expiring ON webhooks_taken (expires_at);
