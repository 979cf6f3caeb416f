-- What the jobs calculate. Each value can be calculated again from the sources, at any time.

-- One row a user and day, from the day of the first status on. NULL: not calculated yet.
CREATE TABLE IF NOT EXISTS bi_day (
  day TEXT NOT NULL,
  user_id INTEGER NOT NULL REFERENCES app_user (id),
  status TEXT,
  available_minutes INTEGER,        -- a fifth of the week on a working day, 0 on leave
  salary_cents INTEGER,             -- the day's share; the days of a month add up to the salary
  worked_minutes INTEGER,
  revenue_cents INTEGER,
  PRIMARY KEY (day, user_id)
) WITHOUT ROWID;

-- One row a day and contract that somebody is on.
CREATE TABLE IF NOT EXISTS contract_consultant_day (
  day TEXT NOT NULL,
  contract_consultant_id INTEGER NOT NULL REFERENCES contract_consultant (id),
  user_id INTEGER NOT NULL REFERENCES app_user (id),
  planned_minutes INTEGER NOT NULL,
  planned_cents INTEGER NOT NULL,
  PRIMARY KEY (day, user_id, contract_consultant_id)
) WITHOUT ROWID;

-- One row a month and contract that somebody is on: what was planned, and what was done.
CREATE TABLE IF NOT EXISTS budget_month (
  month TEXT NOT NULL,              -- 2025-09
  contract_consultant_id INTEGER NOT NULL REFERENCES contract_consultant (id),
  planned_minutes INTEGER NOT NULL,
  planned_cents INTEGER NOT NULL,
  worked_minutes INTEGER NOT NULL,
  revenue_cents INTEGER NOT NULL,
  PRIMARY KEY (month, contract_consultant_id)
) WITHOUT ROWID;

-- How the last recalculation of a day ended, as the analyzer heard it.
CREATE TABLE IF NOT EXISTS recalculated_day (
  job_name TEXT NOT NULL,
  user_uuid TEXT NOT NULL,          -- '' for all users
  day TEXT NOT NULL,
  job_execution_id INTEGER NOT NULL,
  outcome TEXT NOT NULL,            -- SUCCESS, PARTIAL, FAILURE
  row_count INTEGER NOT NULL,
  failed TEXT,                      -- what could not be calculated, and why
  PRIMARY KEY (job_name, user_uuid, day)
) WITHOUT ROWID;
