CREATE TABLE IF NOT EXISTS recap_article (
  run TEXT NOT NULL,
  id INTEGER NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  text TEXT,
  original INTEGER,
  genre TEXT,
  score INTEGER,
  is_selected INTEGER NOT NULL DEFAULT 0,
  evidence TEXT,
  summary TEXT,
  PRIMARY KEY (run, id)
);

-- The tables of the program that was there before; they may be full already.
CREATE TABLE IF NOT EXISTS recap_jobs (
  id TEXT PRIMARY KEY,
  status TEXT NOT NULL,
  last_stage TEXT,
  trigger_source TEXT NOT NULL,
  updated_at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS recap_stage_state (
  job_id TEXT NOT NULL,
  stage TEXT NOT NULL,
  state TEXT NOT NULL,
  saved_at TEXT NOT NULL,
  PRIMARY KEY (job_id, stage)
);

CREATE TABLE IF NOT EXISTS recap_outputs (
  job_id TEXT NOT NULL,
  genre TEXT NOT NULL,
  title TEXT NOT NULL,
  summary TEXT NOT NULL,
  PRIMARY KEY (job_id, genre, title)
);
