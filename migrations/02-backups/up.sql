CREATE TABLE backups ( -- what `catalog backup` wrote: whoever erases something from the catalog must think of these files as well
    backup_id INTEGER PRIMARY KEY,
    path      TEXT NOT NULL CHECK (path <> ''),       -- as it was given, made absolute; the file may have been moved since
    made_at   TEXT NOT NULL,                          -- noted just before the finished file got its name: it may lack one that failed at the last step
    bytes     INTEGER NOT NULL CHECK (bytes >= 0),
    sha256    TEXT CHECK (length(sha256) = 64),       -- of the file, which tells it wherever it lies now; NULL: not known
    run_id    INTEGER NOT NULL REFERENCES runs (run_id)
) STRICT;
