-- The catalog of zoom-harvester. All times are ISO-8601 UTC with whole seconds (2026-03-01T10:15:14Z), all days are UTC days,
-- all checksums SHA-256 in hex. Comments stand inside the statements, so that `.schema` shows them.
-- Where rows are written often, a CHECK says OR: SQLite builds a table for each IN of more than two values, for each statement.

CREATE TABLE account ( -- whose meetings these are; one row, once the first sync has begun
    singleton       INTEGER PRIMARY KEY CHECK (singleton = 1),
    account_id      TEXT NOT NULL CHECK (account_id <> ''), -- Zoom's account id; another account is refused
    catalog_id      TEXT NOT NULL,                          -- tells this catalog from every other one, in Elasticsearch too
    created_at      TEXT NOT NULL,
    whole_listed_at TEXT NOT NULL,                          -- when the last 30 days were last listed whole, settled or not
    wanted_from     TEXT CHECK (wanted_from = date(wanted_from)) -- the earliest day that a sync was asked for, whether or not it was listed by then; NULL: none was named
) STRICT;

CREATE TABLE runs ( -- every command that may change something
    run_id      INTEGER PRIMARY KEY,
    command     TEXT NOT NULL,       -- sync, publish, reindex, retry, verify (that repairs), forget, backup, vacuum
    started_at  TEXT NOT NULL,
    ended_at    TEXT,                -- NULL: under way, or killed
    exit_code   INTEGER,
    message     TEXT,                -- why it ended as it did, if there is something to say
    listings    INTEGER NOT NULL DEFAULT 0, -- complete listings of a window
    new         INTEGER NOT NULL DEFAULT 0, -- meetings seen for the first time
    changed     INTEGER NOT NULL DEFAULT 0, -- meetings listed differently
    vanished    INTEGER NOT NULL DEFAULT 0, -- meetings no longer listed
    details     INTEGER NOT NULL DEFAULT 0, -- details kept
    sessions    INTEGER NOT NULL DEFAULT 0, -- sessions in them
    failed      INTEGER NOT NULL DEFAULT 0, -- details, windows or documents that could not be had or sent
    published   INTEGER NOT NULL DEFAULT 0, -- meetings whose documents were acknowledged
    CHECK ((ended_at IS NULL) = (exit_code IS NULL))
) STRICT;

CREATE TABLE windows ( -- one row a day that was ever listed completely
    day             TEXT PRIMARY KEY CHECK (day = date(day)),
    basis           TEXT NOT NULL CHECK (basis IN ('end_time', 'start_time')), -- by which time Zoom selected
    meetings        INTEGER NOT NULL CHECK (meetings >= 0), -- that the last listing showed for the day
    changes         INTEGER NOT NULL CHECK (changes >= 0),  -- that the last listing brought for the day
    listings        INTEGER NOT NULL CHECK (listings > 0),  -- how often it was listed
    first_listed_at TEXT NOT NULL,
    last_listed_at  TEXT NOT NULL,
    settled_at      TEXT                                    -- NULL: it will be listed again by the next sync
) STRICT;
CREATE INDEX windows_unsettled ON windows (day) WHERE settled_at IS NULL;

CREATE TABLE hosts ( -- Zoom users who host meetings
    host_id          TEXT PRIMARY KEY CHECK (host_id <> ''),
    email            TEXT NOT NULL,
    name             TEXT NOT NULL,
    dept             TEXT NOT NULL,
    user_type        INTEGER,                -- 1 Basic, 2 Licensed, 4 unassigned, 99 none; NULL: Zoom did not say
    status           TEXT NOT NULL CHECK (status IN ('known', 'not_found', 'not_licensed')), -- the last two: asked no more
    recorded_at      TEXT NOT NULL,          -- when a column last changed
    series_listed_at TEXT                    -- when its list of series was last read
) STRICT;
CREATE INDEX hosts_series_listed ON hosts (series_listed_at) WHERE status = 'known';

CREATE TABLE host_lookups ( -- from what a listing says of a host (an email) to its id
    host_key     TEXT PRIMARY KEY,           -- the email in lower case, or meeting:UUID where Zoom gave no email
    host_id      TEXT REFERENCES hosts (host_id),
    status       TEXT NOT NULL CHECK (status = 'pending' OR status = 'known' OR status = 'not_found'), -- not_found: asked no more
    meeting_uuid TEXT NOT NULL,              -- a meeting to ask Zoom about
    asked_at     TEXT,
    CHECK ((status = 'known') = (host_id IS NOT NULL))
) STRICT;
CREATE INDEX host_lookups_pending ON host_lookups (host_key) WHERE status = 'pending';

CREATE TABLE series ( -- what Zoom calls meeting ids or meeting numbers
    series_id     INTEGER PRIMARY KEY,
    kind          TEXT NOT NULL CHECK (kind = 'scheduled' OR kind = 'recurring' OR kind = 'personal' OR kind = 'instant' OR kind = 'unknown'),
    status        TEXT NOT NULL CHECK (status = 'pending' OR status = 'known' OR status = 'not_found'), -- not_found: its host's list lacks it
    topic         TEXT NOT NULL,             -- as its host's list says, else as its first meeting said
    host_id       TEXT REFERENCES hosts (host_id),
    first_seen_at TEXT NOT NULL,
    looked_up_at  TEXT,
    CHECK ((status = 'pending') = (looked_up_at IS NULL))
) STRICT;
CREATE INDEX series_pending ON series (host_id) WHERE status = 'pending';

CREATE TABLE dictionaries ( -- what an account's rows have in common, learned once: zstd needs it to read what was compressed with it (zstd -D).
    -- It was learned from rows without names, emails or any other personal value, so it holds none.
    dictionary_id INTEGER PRIMARY KEY,
    kind          TEXT NOT NULL CHECK (kind IN ('listing', 'detail')),
    dictionary    BLOB NOT NULL,
    made_at       TEXT NOT NULL
) STRICT;

CREATE TABLE meetings ( -- one row a meeting instance
    meeting_id    INTEGER PRIMARY KEY,       -- a short name for it, inside this file only
    meeting_uuid  TEXT NOT NULL UNIQUE CHECK (meeting_uuid <> ''),
    series_id     INTEGER REFERENCES series (series_id),
    host_key      TEXT NOT NULL REFERENCES host_lookups (host_key),
    host_id       TEXT REFERENCES hosts (host_id),
    listing_type  TEXT NOT NULL CHECK (listing_type IN ('past', 'pastOne')), -- which of Zoom's lists; the detail is asked for with it
    topic         TEXT NOT NULL,
    host_name     TEXT NOT NULL,
    host_email    TEXT NOT NULL,
    start_time    TEXT,                      -- NULL: Zoom did not say (yet)
    end_time      TEXT,
    duration_s    INTEGER,
    participants  INTEGER,                   -- Zoom's count of joins, not of people
    listed_day    TEXT NOT NULL,             -- the day it counts for: of its end, else of its start, else of its window

    -- Where it stands. The checksums are the truth, status names their relation.
    status            TEXT NOT NULL CHECK (status = 'listed' OR status = 'fetched' OR status = 'indexed' OR status = 'failed' OR status = 'dead' OR status = 'gone'),
    listed_checksum   TEXT NOT NULL CHECK (length(listed_checksum) = 64),  -- what bears on the detail, as last listed
    shown_checksum    TEXT NOT NULL CHECK (length(shown_checksum) = 64),   -- the other fields, but for volatile ones
    fetched_for       TEXT,                  -- the listed_checksum that the kept detail was fetched for
    detail_checksum   TEXT,                  -- of the kept detail
    document_checksum TEXT,                  -- of what the documents are built from
    indexed_checksum  TEXT,                  -- the document_checksum that Elasticsearch acknowledged
    rejected_checksum TEXT,                  -- the document_checksum that Elasticsearch refused: not sent again
    revision          INTEGER NOT NULL,      -- version of its documents: milliseconds since 1970, ever growing
    sessions          INTEGER,               -- in the kept detail
    reconciled        INTEGER NOT NULL DEFAULT 0 CHECK (reconciled IN (0, 1)), -- 1: what an index filled by another catalog held of it is known

    first_listed_at TEXT NOT NULL,
    changed_at      TEXT NOT NULL,           -- when its listing last differed
    fetched_at      TEXT,
    indexed_at      TEXT,
    vanished_at     TEXT,                    -- a complete listing no longer showed it; its documents stay

    attempts         INTEGER NOT NULL DEFAULT 0, -- failed ones since its listing last changed
    last_attempt_run INTEGER,                -- one attempt a run
    failure          TEXT,                   -- what the last attempt met
    look_again_step  INTEGER NOT NULL DEFAULT 0 CHECK (look_again_step BETWEEN 0 AND 4),
    look_again_at    TEXT,                   -- its detail seemed unfinished and is fetched again then
    incomplete       INTEGER NOT NULL DEFAULT 0 CHECK (incomplete IN (0, 1)), -- 1: it stayed unfinished and was accepted so
    doubt            TEXT,                   -- what the kept detail contradicts, or lacks; the view doubted_meetings shows it

    listing            BLOB NOT NULL,        -- Zoom's row, whole: zstd over canonical JSON
    listing_bytes      INTEGER NOT NULL,     -- before compression
    listing_dictionary INTEGER REFERENCES dictionaries (dictionary_id), -- NULL: compressed without one

    CHECK ((detail_checksum IS NULL) = (fetched_for IS NULL)),
    CHECK ((detail_checksum IS NULL) = (document_checksum IS NULL)),
    CHECK ((detail_checksum IS NULL) = (sessions IS NULL)),
    CHECK (incomplete = 0 OR doubt IS NOT NULL),
    CHECK (status <> 'listed'  OR fetched_for IS NOT listed_checksum),
    CHECK (status <> 'fetched' OR (fetched_for IS listed_checksum AND document_checksum IS NOT indexed_checksum)),
    CHECK (status <> 'indexed' OR (fetched_for IS listed_checksum AND document_checksum IS indexed_checksum)),
    CHECK ((status <> 'failed' AND status <> 'dead' AND status <> 'gone') OR failure IS NOT NULL)
) STRICT;
CREATE INDEX meetings_end_time ON meetings (end_time);
CREATE INDEX meetings_start_time ON meetings (start_time);
CREATE INDEX meetings_listed_day ON meetings (listed_day);
CREATE INDEX meetings_series ON meetings (series_id);
CREATE INDEX meetings_host ON meetings (host_id);
CREATE INDEX meetings_host_unknown ON meetings (host_key) WHERE host_id IS NULL;
CREATE INDEX meetings_detail_due ON meetings (end_time) WHERE status IN ('listed', 'failed');
CREATE INDEX meetings_look_again ON meetings (look_again_at) WHERE look_again_at IS NOT NULL;
CREATE INDEX meetings_doubted ON meetings (meeting_id) WHERE doubt IS NOT NULL;
CREATE INDEX meetings_troubled ON meetings (status) WHERE status IN ('failed', 'dead');
CREATE INDEX meetings_documents_due ON meetings (revision)
    WHERE document_checksum IS NOT indexed_checksum AND document_checksum IS NOT rejected_checksum;

CREATE TABLE payloads ( -- the kept details: from these the documents are built, and the index is rebuilt
    meeting_id    INTEGER PRIMARY KEY REFERENCES meetings (meeting_id),
    payload       BLOB NOT NULL,             -- zstd over canonical JSON, an array of Zoom's participant rows
    payload_bytes INTEGER NOT NULL,          -- before compression
    dictionary_id INTEGER REFERENCES dictionaries (dictionary_id) -- NULL: compressed without one
) STRICT;

CREATE TABLE sessions ( -- who was in which meeting, from when to when: one row a session of a kept detail. The view session_overview shows it.
    -- Each is noted before its document is sent.
    meeting_id INTEGER NOT NULL REFERENCES meetings (meeting_id),
    session_id BLOB NOT NULL CHECK (length(session_id) = 16), -- hex() of it, in lower case, is the _id of its document
    user_name  TEXT,                         -- NULL: Zoom did not say, or it is not kept
    email      TEXT,                         -- likewise; guests have none
    join_time  INTEGER,                      -- seconds since 1970, UTC; NULL: Zoom did not say
    leave_time INTEGER,
    PRIMARY KEY (meeting_id, session_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE lost_sessions ( -- sessions that a meeting has no more: their documents are to be deleted from the index
    meeting_id INTEGER NOT NULL REFERENCES meetings (meeting_id),
    session_id TEXT NOT NULL,                -- the _id of the document
    PRIMARY KEY (meeting_id, session_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE indices ( -- what acknowledged our documents
    kind          TEXT PRIMARY KEY CHECK (kind IN ('meetings', 'sessions')),
    index_name    TEXT NOT NULL,
    index_uuid    TEXT NOT NULL,             -- Elasticsearch's own id of the index: another one means that everything is due again
    stamp         TEXT,                      -- our last mark in the index: another one there means that another catalog, or a newer copy of this one, wrote to it
    pending_stamp TEXT,                      -- the mark being written
    adopted       INTEGER NOT NULL CHECK (adopted IN (0, 1)), -- 1: it held documents before this catalog wrote to it
    recorded_at   TEXT NOT NULL
) STRICT;

CREATE TABLE api_use ( -- requests to Zoom by UTC day and rate-limit label, counted before they are made
    day        TEXT NOT NULL CHECK (day = date(day)),
    label      TEXT NOT NULL CHECK (label IN ('Light', 'Medium', 'Heavy', 'Resource-intensive')),
    requests   INTEGER NOT NULL CHECK (requests >= 0),
    counted_ms INTEGER NOT NULL,             -- when the last ones were counted, milliseconds since 1970
    PRIMARY KEY (day, label)
) STRICT;

CREATE TABLE recent_requests ( -- Resource-intensive requests of the last minutes: their limit is a minute's, and outlives a run
    request_id INTEGER PRIMARY KEY,
    sent_ms    INTEGER NOT NULL              -- milliseconds since 1970
) STRICT;

CREATE TABLE changes ( -- what changed when: the history of every meeting. The view change_log shows it.
    change_id    INTEGER PRIMARY KEY,
    at           TEXT NOT NULL,
    run_id       INTEGER NOT NULL REFERENCES runs (run_id),
    meeting_id   INTEGER NOT NULL REFERENCES meetings (meeting_id),
    what         TEXT NOT NULL CHECK (what = 'new' OR what = 'listing' OR what = 'shown' OR what = 'vanished' OR what = 'reappeared' OR what = 'detail' OR what = 'gone'),
    old_checksum TEXT                        -- what the checksum was before; what it became stands in the next such line, or in the meeting
) STRICT;
CREATE INDEX changes_meeting ON changes (meeting_id);

CREATE TABLE backups ( -- what `catalog backup` wrote: whoever erases something from the catalog must think of these files as well
    backup_id INTEGER PRIMARY KEY,
    path      TEXT NOT NULL CHECK (path <> ''),       -- as it was given, made absolute; the file may have been moved since
    made_at   TEXT NOT NULL,                          -- noted just before the finished file got its name: it may lack one that failed at the last step
    bytes     INTEGER NOT NULL CHECK (bytes >= 0),
    sha256    TEXT CHECK (length(sha256) = 64),       -- of the file, which tells it wherever it lies now; NULL: not known
    run_id    INTEGER NOT NULL REFERENCES runs (run_id)
) STRICT;

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

-- Views for auditors.

CREATE VIEW coverage AS -- Do we have everything? One row a day. state: complete, partial (something is due), failed, or unsettled (to be listed again).
SELECT day, listed, fetched, indexed, failed, gone, vanished, incomplete, sessions, settled, last_listed_at,
       CASE WHEN failed > 0 THEN 'failed' WHEN due > 0 THEN 'partial' WHEN settled THEN 'complete' ELSE 'unsettled' END AS state
FROM (
SELECT w.day,
       count(m.meeting_uuid)                             AS listed,
       coalesce(sum(m.detail_checksum IS NOT NULL AND m.fetched_for = m.listed_checksum), 0) AS fetched,
       coalesce(sum(m.indexed_checksum IS NOT NULL AND m.indexed_checksum = m.document_checksum), 0) AS indexed,
       coalesce(sum(m.status IN ('failed', 'dead')), 0)  AS failed,
       coalesce(sum(m.status = 'gone'), 0)               AS gone,
       coalesce(sum(m.vanished_at IS NOT NULL), 0)       AS vanished,
       coalesce(sum(m.incomplete), 0)                    AS incomplete,
       coalesce(sum(m.sessions), 0)                      AS sessions,
       coalesce(sum((m.status = 'listed' AND m.vanished_at IS NULL)
                    OR (m.status = 'fetched' AND EXISTS (SELECT 1 FROM indices))), 0) AS due, -- documents are due where there is an index for them
       w.settled_at IS NOT NULL                          AS settled,
       w.last_listed_at
FROM windows w LEFT JOIN meetings m ON m.listed_day = w.day
GROUP BY w.day);

CREATE VIEW meeting_overview AS -- What is known of each meeting, with its series and its host?
SELECT m.meeting_uuid, m.status, m.start_time, m.end_time, m.duration_s, m.topic,
       m.series_id, s.kind AS series_kind, s.topic AS series_topic,
       m.host_id, coalesce(h.name, m.host_name) AS host_name, coalesce(h.email, m.host_email) AS host_email, h.dept AS host_dept,
       m.listing_type, m.participants, m.sessions, m.incomplete, m.vanished_at, m.first_listed_at, m.fetched_at, m.indexed_at
FROM meetings m
LEFT JOIN series s ON s.series_id = m.series_id
LEFT JOIN hosts h ON h.host_id = m.host_id;

CREATE VIEW failures AS -- What failed, why, and what happens next?
SELECT m.meeting_uuid, m.status, m.topic, m.start_time, m.attempts, m.failure AS reason,
       CASE WHEN m.status = 'failed' THEN 'next sync'
            WHEN m.status = 'dead' THEN 'after zoom-harvester retry'
            WHEN m.look_again_at IS NOT NULL THEN m.look_again_at
            ELSE 'never: Zoom no longer has it' END AS next_attempt
FROM meetings m WHERE m.status IN ('failed', 'dead', 'gone');

CREATE VIEW doubted_meetings AS -- Which details contradict themselves or the listing, why, and when are they looked at again?
SELECT m.meeting_uuid, m.topic, m.start_time, m.end_time, m.sessions, m.participants, m.doubt AS reason,
       coalesce(m.look_again_at, 'never: accepted as it is') AS next_look
FROM meetings m WHERE m.doubt IS NOT NULL;

CREATE VIEW session_overview AS -- Who was in which meeting, from when to when?
SELECT m.meeting_uuid, lower(hex(s.session_id)) AS session_id, s.user_name, s.email,
       strftime('%Y-%m-%dT%H:%M:%SZ', s.join_time, 'unixepoch')  AS join_time,
       strftime('%Y-%m-%dT%H:%M:%SZ', s.leave_time, 'unixepoch') AS leave_time,
       CASE WHEN s.leave_time >= s.join_time THEN s.leave_time - s.join_time END AS duration_s,
       m.topic, m.series_id, m.host_id, m.start_time AS meeting_start_time, m.end_time AS meeting_end_time
FROM sessions s JOIN meetings m ON m.meeting_id = s.meeting_id;

CREATE VIEW change_log AS -- What changed when, and in which run?
SELECT c.at, c.what, m.meeting_uuid, m.topic, c.old_checksum,
       CASE WHEN c.what IN ('new', 'listing', 'reappeared') THEN coalesce(
                (SELECT n.old_checksum FROM changes n WHERE n.meeting_id = c.meeting_id AND n.change_id > c.change_id AND n.what = 'listing'
                 ORDER BY n.change_id LIMIT 1), m.listed_checksum)
            WHEN c.what = 'shown' THEN coalesce(
                (SELECT n.old_checksum FROM changes n WHERE n.meeting_id = c.meeting_id AND n.change_id > c.change_id AND n.what = 'shown'
                 ORDER BY n.change_id LIMIT 1), m.shown_checksum)
            WHEN c.what = 'detail' THEN coalesce(
                (SELECT n.old_checksum FROM changes n WHERE n.meeting_id = c.meeting_id AND n.change_id > c.change_id AND n.what = 'detail'
                 ORDER BY n.change_id LIMIT 1), m.detail_checksum)
       END AS new_checksum,
       c.run_id
FROM changes c JOIN meetings m ON m.meeting_id = c.meeting_id;

CREATE VIEW run_log AS -- What did each run do, and how did it end?
SELECT run_id, command, started_at, ended_at, exit_code, listings, new, changed, vanished, details, sessions, failed, published,
       coalesce(message, CASE WHEN ended_at IS NULL THEN 'under way or killed' END) AS message
FROM runs;

CREATE VIEW api_use_by_day AS -- Does it eat our quota? The last column is what counts against Zoom's daily limit.
SELECT day,
       sum(CASE WHEN label = 'Light' THEN requests ELSE 0 END)              AS light,
       sum(CASE WHEN label = 'Medium' THEN requests ELSE 0 END)             AS medium,
       sum(CASE WHEN label = 'Heavy' THEN requests ELSE 0 END)              AS heavy,
       sum(CASE WHEN label = 'Resource-intensive' THEN requests ELSE 0 END) AS resource_intensive,
       sum(CASE WHEN label IN ('Heavy', 'Resource-intensive') THEN requests ELSE 0 END) AS daily_quota_used
FROM api_use GROUP BY day;

CREATE VIEW unlisted_days AS -- Which days, from the first that was listed or asked for to the last, has no listing ever covered?
WITH RECURSIVE
reach(first, last) AS (
    SELECT min(day), max(day) FROM (SELECT day FROM windows UNION ALL SELECT wanted_from FROM account WHERE wanted_from IS NOT NULL)
),
days(day) AS (
    SELECT first FROM reach WHERE first IS NOT NULL
    UNION ALL
    SELECT date(day, '+1 day') FROM days WHERE day < (SELECT last FROM reach)
)
SELECT day FROM days
WHERE day NOT IN (SELECT day FROM windows) AND day >= (SELECT coalesce(before_day, day) FROM forgetting);
