-- What decisions used to read from the audit log. The log is for people to read; decisions read these.

-- That somebody touched for a session when it began to use a grant.
CREATE TABLE proved_sessions (
    session TEXT NOT NULL,
    "grant" TEXT NOT NULL,
    step_up TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (session, "grant")
) STRICT, WITHOUT ROWID;
INSERT INTO proved_sessions (session, "grant", step_up, at)
SELECT subject, detail ->> '$.grant', coalesce(detail ->> '$.step_up.id', ''), min(at)
FROM audit
WHERE kind = 'session.proved' AND detail ->> '$.grant' IS NOT NULL
GROUP BY 1, 2;

-- The first sign-in of all: until there is one, each start prints links for the admins.
CREATE TABLE first_sign_in (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    at INTEGER NOT NULL
) STRICT;
INSERT INTO first_sign_in (only, at)
SELECT 1, min(at) FROM audit WHERE kind = 'login.signed-in' HAVING count(*) > 0;
