-- Accounts without dashboards are harvested by Zoom's reports, so the catalog says where each meeting's detail comes from.

ALTER TABLE meetings ADD COLUMN source TEXT NOT NULL DEFAULT 'dashboard' CHECK (source = 'dashboard' OR source = 'reports'); -- where its detail comes from, or its listing while it has none

DROP VIEW meeting_overview;
CREATE VIEW meeting_overview AS -- What is known of each meeting, with its series and its host?
SELECT m.meeting_uuid, m.status, m.source, m.start_time, m.end_time, m.duration_s, m.topic,
       m.series_id, s.kind AS series_kind, s.topic AS series_topic,
       m.host_id, coalesce(h.name, m.host_name) AS host_name, coalesce(h.email, m.host_email) AS host_email, h.dept AS host_dept,
       m.listing_type, m.participants, m.sessions, m.incomplete, m.vanished_at, m.first_listed_at, m.fetched_at, m.indexed_at
FROM meetings m
LEFT JOIN series s ON s.series_id = m.series_id
LEFT JOIN hosts h ON h.host_id = m.host_id;

ALTER TABLE account ADD COLUMN document_form INTEGER NOT NULL DEFAULT 1; -- the form of documents that the document checksums are of; a newer program makes those of an older form due again
