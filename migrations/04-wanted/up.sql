ALTER TABLE account ADD COLUMN wanted_from TEXT /* the earliest day that a sync was asked for, whether or not it was listed by then; NULL: none was named */
    CHECK (wanted_from = date(wanted_from));

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
