-- What the night makes of visits and budgets; the tables themselves are those of the shops.
CREATE TABLE day_report (
    store_id INTEGER NOT NULL REFERENCES store (store_id),
    day TEXT NOT NULL,
    visitors INTEGER NOT NULL,
    sales NUMERIC NOT NULL,
    budget NUMERIC,
    PRIMARY KEY (store_id, day)
);
CREATE TABLE week_report (
    store_id INTEGER NOT NULL REFERENCES store (store_id),
    last_day TEXT NOT NULL,
    visitors INTEGER NOT NULL,
    sales NUMERIC NOT NULL,
    budget NUMERIC NOT NULL,
    PRIMARY KEY (store_id, last_day)
);
