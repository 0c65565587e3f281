-- A logout at an issuer names a session there.
CREATE INDEX logins_from ON logins (issuer, sid) WHERE sid IS NOT NULL;
DROP INDEX logins_at;

-- Whose issuer has not vouched for them for too long.
CREATE INDEX people_vouched ON people (issuer, vouched_at) WHERE standing = 'vouched';
