-- An account may have an index a year, so the catalog remembers where the documents of each meeting are. Year 0 is the index for all years.

ALTER TABLE meetings ADD COLUMN index_year INTEGER CHECK (index_year BETWEEN 0 AND 9999); -- where its documents were last sent; 0: the index for all years; NULL: nowhere yet
UPDATE meetings SET index_year = 0 WHERE document_checksum IS NOT NULL;

CREATE TABLE older_indices AS SELECT * FROM indices;
DROP TABLE indices;
CREATE TABLE indices ( -- what acknowledged our documents
    kind          TEXT NOT NULL CHECK (kind IN ('meetings', 'sessions')),
    year          INTEGER NOT NULL CHECK (year BETWEEN 0 AND 9999), -- of the meetings in it, by the UTC day of their end; 0: of all years
    index_name    TEXT NOT NULL,
    index_uuid    TEXT NOT NULL,             -- Elasticsearch's own id of the index: another one means that everything is due again
    stamp         TEXT,                      -- our last mark in the index: another one there means that another catalog, or a newer copy of this one, wrote to it
    pending_stamp TEXT,                      -- the mark being written
    adopted       INTEGER NOT NULL CHECK (adopted IN (0, 1)), -- 1: it held documents before this catalog wrote to it
    recorded_at   TEXT NOT NULL,
    PRIMARY KEY (kind, year)
) STRICT;
INSERT INTO indices (kind, year, index_name, index_uuid, stamp, pending_stamp, adopted, recorded_at)
SELECT kind, 0, index_name, index_uuid, stamp, pending_stamp, adopted, recorded_at FROM older_indices;
DROP TABLE older_indices;

CREATE TABLE older_doomed_documents AS SELECT * FROM doomed_documents;
DROP TABLE doomed_documents;
CREATE TABLE doomed_documents ( -- documents to be deleted, until Elasticsearch has acknowledged it: of forgotten meetings, and of meetings that belong to another year's index by now
    year        INTEGER NOT NULL CHECK (year BETWEEN 0 AND 9999), -- of the index; 0: of the index for all years
    kind        TEXT NOT NULL CHECK (kind IN ('meetings', 'sessions')),
    document_id TEXT NOT NULL,
    version     INTEGER NOT NULL, -- above every one that was sent of it
    PRIMARY KEY (year, kind, document_id)
) STRICT, WITHOUT ROWID;
INSERT INTO doomed_documents (year, kind, document_id, version)
SELECT 0, kind, document_id, version FROM older_doomed_documents;
DROP TABLE older_doomed_documents;
