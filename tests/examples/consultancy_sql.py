"""What the consultancy's jobs should have written, in SQL alone: window functions instead of loops.

It shares nothing with the example but the tables of the sources.
"""

from __future__ import annotations

_SOURCES = """
WITH RECURSIVE day (day) AS (
  SELECT :first UNION ALL SELECT date(day, '+1 day') FROM day WHERE day < :last
), status AS (
  SELECT *, lead(valid_from, 1, '9999') OVER (PARTITION BY user_id ORDER BY valid_from) AS until
  FROM user_status
), pay AS (
  SELECT *, lead(valid_from, 1, '9999') OVER (PARTITION BY user_id ORDER BY valid_from) AS until
  FROM salary
), place AS (
  SELECT day, CAST(strftime('%d', day) AS INTEGER) AS number,
         CAST(strftime('%d', day, 'start of month', '+1 month', '-1 day') AS INTEGER) AS of
  FROM day
), user_day AS (
  SELECT day, number, of, s.user_id, s.status, p.monthly_cents,
         CASE WHEN s.status = 'ACTIVE' AND c.is_workday THEN s.weekly_minutes / 5 ELSE 0 END
           AS available_minutes
  FROM place
  JOIN calendar c USING (day)
  JOIN status s ON s.valid_from <= day AND day < s.until
  LEFT JOIN pay p ON p.user_id = s.user_id AND p.valid_from <= day AND day < p.until
), done AS (
  SELECT w.day, w.user_id, c.id, w.minutes,
         CAST(round(w.minutes * c.hourly_cents / 60.0) AS INTEGER) AS cents
  FROM work_entry w JOIN contract_consultant c ON c.id = w.contract_consultant_id
), plan AS (
  SELECT day, user_id, c.id, iif(available_minutes > 0, c.weekly_minutes / 5, 0) AS minutes,
         CAST(round(iif(available_minutes > 0, c.weekly_minutes / 5, 0) * c.hourly_cents / 60.0)
              AS INTEGER) AS cents
  FROM user_day JOIN contract_consultant c USING (user_id)
  WHERE day BETWEEN c.valid_from AND c.valid_to
)
"""

BI_DAY = f"""{_SOURCES}
SELECT day, user_id, status, available_minutes,
  iif(status IN ('ACTIVE', 'PAID_LEAVE') AND monthly_cents IS NOT NULL,
      monthly_cents * number / of - monthly_cents * (number - 1) / of, 0),
  (SELECT coalesce(sum(minutes), 0) FROM done WHERE done.day = user_day.day
     AND done.user_id = user_day.user_id),
  (SELECT coalesce(sum(cents), 0) FROM done WHERE done.day = user_day.day
     AND done.user_id = user_day.user_id)
FROM user_day ORDER BY 1, 2
"""

CONTRACT_DAY = f"{_SOURCES} SELECT day, user_id, id, minutes, cents FROM plan ORDER BY 1, 2, 3"

BUDGET = f"""{_SOURCES}
SELECT substr(day, 1, 7), id, sum(planned), sum(planned_cents), sum(worked), sum(revenue) FROM (
  SELECT day, id, minutes AS planned, cents AS planned_cents, 0 AS worked, 0 AS revenue FROM plan
  UNION ALL
  SELECT day, id, 0, 0, minutes, cents FROM done WHERE day BETWEEN :first AND :last
) GROUP BY 1, 2 ORDER BY 1, 2
"""
