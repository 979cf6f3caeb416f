-- One row a flight, as in the CSV file. The key is the flight's natural one: no two of the 336,776
-- lines agree in these six columns. Its first three serve the look-up of one day.
CREATE TABLE flight (
  year INTEGER NOT NULL,
  month INTEGER NOT NULL,
  day INTEGER NOT NULL,
  carrier TEXT NOT NULL,
  flight INTEGER NOT NULL,
  origin TEXT NOT NULL,
  dest TEXT NOT NULL,
  tailnum TEXT,
  sched_dep_time INTEGER NOT NULL, -- local time as HHMM, like the next three
  dep_time INTEGER,                -- NULL: cancelled
  sched_arr_time INTEGER NOT NULL,
  arr_time INTEGER,
  dep_delay INTEGER,               -- minutes, negative when early
  arr_delay INTEGER,
  air_time INTEGER,                -- minutes
  distance INTEGER NOT NULL,       -- miles
  time_hour TEXT NOT NULL,         -- scheduled departure, UTC, to the hour
  PRIMARY KEY (year, month, day, carrier, flight, origin)
);
