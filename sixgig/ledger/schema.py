"""The tables. A column has the name of the field it holds."""

APPLICATION_ID = 0x36474C31  # "6GL1", in the file's header: how a ledger is told from other SQLite files
VERSION = 1

TABLES = f"""
BEGIN;
CREATE TABLE entries (
    id TEXT PRIMARY KEY NOT NULL,
    began_at REAL NOT NULL,
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    path TEXT NOT NULL,
    served_by TEXT NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('ok', 'cancelled', 'failed')),
    private INTEGER NOT NULL,
    prompt_tokens INTEGER,
    cached_tokens INTEGER,
    completion_tokens INTEGER,
    seconds REAL NOT NULL,
    queue_s REAL NOT NULL,
    first_token_s REAL,
    joules REAL,
    energy_source TEXT NOT NULL,
    energy_estimated INTEGER NOT NULL,
    energy_cost_micros INTEGER,
    upstream_cost_micros INTEGER
);
CREATE INDEX entries_began_at ON entries (began_at);
CREATE TABLE residencies (
    id TEXT PRIMARY KEY NOT NULL,
    began_at REAL NOT NULL,
    model TEXT NOT NULL,
    seconds REAL NOT NULL,
    joules REAL,
    energy_source TEXT NOT NULL,
    energy_estimated INTEGER NOT NULL,
    energy_cost_micros INTEGER
);
CREATE INDEX residencies_began_at ON residencies (began_at);
CREATE TABLE reservations (
    id TEXT PRIMARY KEY NOT NULL,
    at REAL NOT NULL,
    upstream TEXT NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    micros INTEGER NOT NULL,
    settled_micros INTEGER
);
CREATE INDEX reservations_at ON reservations (at);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""
