-- One row a station and hour: what the newest file said about it. IF NOT EXISTS, because the table may
-- be older than the first run of this job.
CREATE TABLE IF NOT EXISTS forecast (
  station TEXT NOT NULL,
  valid_at TEXT NOT NULL,              -- the hour, UTC: 2026-03-01T06:00:00Z
  issued_at TEXT NOT NULL,
  temperature_c REAL NOT NULL,
  precipitation_mm REAL NOT NULL,
  wind_m_s REAL NOT NULL,
  wind_from_deg INTEGER,               -- NULL: calm
  cloud_percent INTEGER NOT NULL,
  PRIMARY KEY (station, valid_at)
);
