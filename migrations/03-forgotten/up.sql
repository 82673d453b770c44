CREATE TABLE forgetting ( -- one row: what was forgotten by date, and what makes the digests of this catalog its own
    singleton  INTEGER PRIMARY KEY CHECK (singleton = 1),
    salt       TEXT NOT NULL CHECK (length(salt) = 64),
    before_day TEXT CHECK (before_day = date(before_day)) -- NULL: nothing by date; else what ended before this UTC day is not kept
) STRICT;
INSERT INTO forgetting (singleton, salt) VALUES (1, lower(hex(randomblob(32))));

CREATE TABLE forgotten ( -- who is not to be kept if they come again: HMAC-SHA-256 of kind and value under the salt.
    -- It shows nobody's name or email. But whoever holds this file, and with it the salt, can try whether somebody they think of
    -- is among them: that is the price of not forgetting that one forgot.
    kind         TEXT NOT NULL CHECK (kind IN ('email', 'participant', 'host', 'meeting')),
    digest       TEXT NOT NULL CHECK (length(digest) = 64),
    forgotten_at TEXT NOT NULL,
    PRIMARY KEY (kind, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE doomed_documents ( -- documents of forgotten meetings, until Elasticsearch has acknowledged their deletion
    kind        TEXT NOT NULL CHECK (kind IN ('meetings', 'sessions')),
    document_id TEXT NOT NULL,
    version     INTEGER NOT NULL, -- above every one that was sent of it
    PRIMARY KEY (kind, document_id)
) STRICT, WITHOUT ROWID;
