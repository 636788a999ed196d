-- The index of runs, version 1. Texts stand once, in `text`; results hold numbers only.
CREATE TABLE text (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);

CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,          -- the run's identity; sorts by time
  matrix INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER,
  phase INTEGER NOT NULL,             -- RunPhase
  findings INTEGER NOT NULL DEFAULT 0,
  next_seq INTEGER NOT NULL DEFAULT 0,
  log_bytes INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE place (
  id INTEGER PRIMARY KEY,
  suite INTEGER NOT NULL, port INTEGER NOT NULL, variant INTEGER NOT NULL,
  UNIQUE (suite, port, variant)
);
CREATE INDEX place_port ON place (port);

CREATE TABLE cell (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL, place INTEGER NOT NULL, side INTEGER NOT NULL,
  revision INTEGER,
  stage INTEGER,                      -- StageResult; null while it runs
  cached INTEGER NOT NULL DEFAULT 0,
  key BLOB,
  UNIQUE (run, place, side)
);
CREATE INDEX cell_place ON cell (place, id);
CREATE INDEX cell_key ON cell (key) WHERE key IS NOT NULL;

CREATE TABLE tcase (
  id INTEGER PRIMARY KEY,
  program INTEGER NOT NULL, name INTEGER NOT NULL,
  UNIQUE (program, name)
);

-- Clustered by case: a history is one stretch of the table.
CREATE TABLE attempt (
  tcase INTEGER NOT NULL, cell INTEGER NOT NULL, seq INTEGER NOT NULL,
  pass INTEGER NOT NULL, guest INTEGER NOT NULL, outcome INTEGER NOT NULL,
  duration_ms INTEGER, reason INTEGER,
  counted INTEGER NOT NULL,           -- 0: its guest was not to be trusted
  PRIMARY KEY (tcase, cell, seq)
) WITHOUT ROWID;

-- Cases that went both ways in one cell: the same kernel, the same program, two answers.
CREATE TABLE flake (
  tcase INTEGER NOT NULL, cell INTEGER NOT NULL, bad INTEGER NOT NULL, total INTEGER NOT NULL,
  PRIMARY KEY (tcase, cell)
) WITHOUT ROWID;

CREATE TABLE guest (
  cell INTEGER NOT NULL, number INTEGER NOT NULL, boot_ms INTEGER NOT NULL,
  PRIMARY KEY (cell, number)
) WITHOUT ROWID;

CREATE TABLE crash (
  cell INTEGER NOT NULL, seq INTEGER NOT NULL, guest INTEGER NOT NULL, kind INTEGER NOT NULL,
  signature INTEGER NOT NULL, title INTEGER NOT NULL, blamed INTEGER,
  PRIMARY KEY (cell, seq)
) WITHOUT ROWID;
CREATE INDEX crash_signature ON crash (signature, cell);

CREATE TABLE finding (
  run INTEGER NOT NULL, number INTEGER NOT NULL, kind INTEGER NOT NULL, news INTEGER NOT NULL,
  suite INTEGER NOT NULL, tcase INTEGER, sentence INTEGER NOT NULL,
  PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE INDEX finding_case ON finding (tcase, run) WHERE tcase IS NOT NULL;
