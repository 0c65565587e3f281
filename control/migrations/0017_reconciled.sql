-- Until when recordings were compared with the register of sessions, by the clock of the file system that
-- they are on, in seconds. What was changed before needs no other look.
CREATE TABLE reconciled (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    until INTEGER NOT NULL
) STRICT;
