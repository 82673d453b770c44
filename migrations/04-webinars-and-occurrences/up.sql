-- Webinars are kept beside meetings, and instances of a series that belong together share an occurrence.

ALTER TABLE meetings ADD COLUMN kind TEXT NOT NULL DEFAULT 'meeting' CHECK (kind = 'meeting' OR kind = 'webinar');
ALTER TABLE meetings ADD COLUMN occurrence_id TEXT CHECK (occurrence_id <> meeting_uuid); -- the UUID of the instance of its series that this one goes on; NULL: it goes on none. The view meeting_overview shows it for every meeting.

-- The neighbours of an instance in its series are found by it as well.
DROP INDEX meetings_series;
CREATE INDEX meetings_series ON meetings (series_id, start_time);

ALTER TABLE windows ADD COLUMN webinars INTEGER CHECK (webinars >= 0); -- webinars that the last listing showed for the day; NULL: it was not asked for them
ALTER TABLE account ADD COLUMN webinars_refused_at TEXT; -- when Zoom last said that the account has no webinars; NULL: it lists them, or was not asked

DROP VIEW coverage;
CREATE VIEW coverage AS -- Do we have everything? One row a day. state: complete, partial (something is due), failed, or unsettled (to be listed again).
SELECT day, listed, webinars, fetched, indexed, failed, gone, vanished, incomplete, sessions, settled, last_listed_at,
       CASE WHEN failed > 0 THEN 'failed' WHEN due > 0 THEN 'partial' WHEN settled THEN 'complete' ELSE 'unsettled' END AS state
FROM (
SELECT w.day,
       count(m.meeting_uuid)                             AS listed,   -- meetings and webinars
       coalesce(sum(m.kind = 'webinar'), 0)              AS webinars, -- of these, webinars
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

DROP VIEW meeting_overview;
CREATE VIEW meeting_overview AS -- What is known of each meeting and webinar, with its series and its host? occurrence_id is the same for instances that belong together.
SELECT m.meeting_uuid, m.kind, coalesce(m.occurrence_id, m.meeting_uuid) AS occurrence_id, m.status, m.source,
       m.start_time, m.end_time, m.duration_s, m.topic,
       m.series_id, s.kind AS series_kind, s.topic AS series_topic,
       m.host_id, coalesce(h.name, m.host_name) AS host_name, coalesce(h.email, m.host_email) AS host_email, h.dept AS host_dept,
       m.listing_type, m.participants, m.sessions, m.incomplete, m.vanished_at, m.first_listed_at, m.fetched_at, m.indexed_at
FROM meetings m
LEFT JOIN series s ON s.series_id = m.series_id
LEFT JOIN hosts h ON h.host_id = m.host_id;

DROP VIEW session_overview;
CREATE VIEW session_overview AS -- Who was in which meeting or webinar, from when to when?
SELECT m.meeting_uuid, m.kind, coalesce(m.occurrence_id, m.meeting_uuid) AS occurrence_id, lower(hex(s.session_id)) AS session_id,
       s.user_name, s.email,
       strftime('%Y-%m-%dT%H:%M:%SZ', s.join_time, 'unixepoch')  AS join_time,
       strftime('%Y-%m-%dT%H:%M:%SZ', s.leave_time, 'unixepoch') AS leave_time,
       CASE WHEN s.leave_time >= s.join_time THEN s.leave_time - s.join_time END AS duration_s,
       m.topic, m.series_id, m.host_id, m.start_time AS meeting_start_time, m.end_time AS meeting_end_time
FROM sessions s JOIN meetings m ON m.meeting_id = s.meeting_id;
