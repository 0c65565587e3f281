-- Written every few seconds, to find out whether the store can be written.
CREATE TABLE probe (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    written_at INTEGER NOT NULL,
    times INTEGER NOT NULL
) STRICT;
INSERT INTO probe (one, written_at, times) VALUES (1, 0, 0);
