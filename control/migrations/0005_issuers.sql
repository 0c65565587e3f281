-- People whom an issuer vouches for, by issuer and subject: never by a name or an e-mail address.
CREATE TABLE people (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    -- What the issuer calls their groups, as a JSON list; the configuration says what it means.
    groups TEXT NOT NULL,
    standing TEXT NOT NULL CHECK (standing IN ('vouched', 'refused', 'lapsed')),
    -- When the issuer vouched for them last.
    vouched_at INTEGER NOT NULL,
    -- When it is asked again.
    next_at INTEGER NOT NULL,
    -- Wrapped by the vault; null where the issuer gave none.
    refresh_token BLOB,
    PRIMARY KEY (issuer, subject)
) STRICT;
CREATE INDEX people_next ON people (next_at) WHERE standing = 'vouched';

-- Sign-ins that have begun. The state and the browser's secret are kept as digests.
CREATE TABLE flows (
    state BLOB PRIMARY KEY,
    issuer TEXT NOT NULL,
    browser BLOB NOT NULL,
    next TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX flows_over ON flows (expires_at);

-- Logout tokens that were used, until they would have expired.
CREATE TABLE logout_tokens (
    issuer TEXT NOT NULL,
    id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, id)
) STRICT;
