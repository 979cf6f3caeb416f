-- What the consultancy knows of its people, and what they have done. Days are text, 2025-09-01;
-- money is whole cents; time is whole minutes.
CREATE TABLE IF NOT EXISTS app_user (
  id INTEGER PRIMARY KEY,
  uuid TEXT NOT NULL UNIQUE,        -- the parameter userUuid
  name TEXT NOT NULL
);

-- A status holds from its day on, until the next one of the same user.
CREATE TABLE IF NOT EXISTS user_status (
  user_id INTEGER NOT NULL REFERENCES app_user (id),
  valid_from TEXT NOT NULL,
  status TEXT NOT NULL
    CHECK (status IN ('ACTIVE', 'PAID_LEAVE', 'UNPAID_LEAVE', 'TERMINATED')),
  weekly_minutes INTEGER NOT NULL,  -- as agreed: 2220 are 37 hours
  PRIMARY KEY (user_id, valid_from)
);

-- A salary holds from its day on, until the next one of the same user.
CREATE TABLE IF NOT EXISTS salary (
  user_id INTEGER NOT NULL REFERENCES app_user (id),
  valid_from TEXT NOT NULL,
  monthly_cents INTEGER NOT NULL,
  PRIMARY KEY (user_id, valid_from)
);

CREATE TABLE IF NOT EXISTS contract (
  id INTEGER PRIMARY KEY,
  client TEXT NOT NULL,
  title TEXT NOT NULL
);

-- Who works on a contract, from when to when, both included.
CREATE TABLE IF NOT EXISTS contract_consultant (
  id INTEGER PRIMARY KEY,
  contract_id INTEGER NOT NULL REFERENCES contract (id),
  user_id INTEGER NOT NULL REFERENCES app_user (id),
  valid_from TEXT NOT NULL,
  valid_to TEXT NOT NULL,
  weekly_minutes INTEGER NOT NULL,
  hourly_cents INTEGER              -- NULL: not agreed yet, nothing can be calculated
);
CREATE INDEX IF NOT EXISTS contract_consultant_user ON contract_consultant (user_id);

-- What was worked on a contract on a day.
CREATE TABLE IF NOT EXISTS work_entry (
  day TEXT NOT NULL,
  user_id INTEGER NOT NULL REFERENCES app_user (id),
  contract_consultant_id INTEGER NOT NULL REFERENCES contract_consultant (id),
  minutes INTEGER NOT NULL,
  PRIMARY KEY (day, user_id, contract_consultant_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS calendar (
  day TEXT NOT NULL PRIMARY KEY,
  is_workday INTEGER                -- 1 or 0; NULL: nobody has decided yet
);
