-- One row a day and airport, computed by the step `recalculate`.
CREATE TABLE daily_delay (
  day TEXT NOT NULL,               -- 2013-01-31
  origin TEXT NOT NULL,
  flights INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  arr_delay_mean REAL,             -- minutes; NULL when no flight arrived
  arr_delay_p90 INTEGER,           -- nearest rank: the ceil(0.9 n)-th of n delays in order
  PRIMARY KEY (day, origin)
);
