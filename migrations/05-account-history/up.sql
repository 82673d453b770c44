-- Where meetings are listed host by host, the account's history tells which hosts have news, once it was seen to agree with their lists.

ALTER TABLE account ADD COLUMN history_checked_at TEXT; -- when it was last compared with the lists of every host; NULL: never
ALTER TABLE account ADD COLUMN history_agrees INTEGER CHECK (history_agrees IN (0, 1)); -- whether it showed the same; NULL: never compared
