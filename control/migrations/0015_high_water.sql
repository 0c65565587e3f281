-- Which store this is, and in which epoch. A file outside of the database knows both, and how far the
-- audit log had come, so that an older copy of the database is noticed.
CREATE TABLE high_water (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store TEXT NOT NULL,
    -- Counts how often an older store was accepted.
    epoch INTEGER NOT NULL,
    -- Whether the file was there once: from then on, a missing file is a fault.
    marked INTEGER NOT NULL
) STRICT;
INSERT INTO high_water (one, store, epoch, marked) VALUES (1, lower(hex(randomblob(16))), 1, 0);
