-- The same on every node; company and store are written at head office.
CREATE TABLE company (
    company_id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
);
CREATE TABLE store (
    store_id INTEGER NOT NULL PRIMARY KEY,
    company_id INTEGER NOT NULL REFERENCES company (company_id),
    code TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL
);
CREATE TABLE visit_daily (
    store_id INTEGER NOT NULL REFERENCES store (store_id),
    day TEXT NOT NULL,
    visitors INTEGER NOT NULL CHECK (visitors >= 0),
    sales NUMERIC NOT NULL,
    PRIMARY KEY (store_id, day)
);
CREATE TABLE budget_monthly (
    store_id INTEGER NOT NULL REFERENCES store (store_id),
    month TEXT NOT NULL,
    amount INTEGER NOT NULL,
    note TEXT,
    PRIMARY KEY (store_id, month)
);
