-- The daemon's queue, version 1. This file cannot be made again from anything else.
CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  repository TEXT NOT NULL, reference TEXT NOT NULL, old TEXT, new TEXT NOT NULL,
  choice TEXT NOT NULL,               -- which rule of the settings; a new change replaces its own
  spec TEXT NOT NULL,                 -- JobSpec as JSON
  priority INTEGER NOT NULL,
  state INTEGER NOT NULL,
  run TEXT,
  note TEXT NOT NULL DEFAULT '',
  findings INTEGER,
  queued_ms INTEGER NOT NULL, started_ms INTEGER, ended_ms INTEGER
);
CREATE INDEX job_state ON job (state, priority);
CREATE INDEX job_reference ON job (repository, reference, choice, state);
CREATE INDEX job_run ON job (run) WHERE run IS NOT NULL;
CREATE TABLE delivery (id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE fired (schedule TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, revision TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE token (
  name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, made_ms INTEGER NOT NULL
) WITHOUT ROWID;
