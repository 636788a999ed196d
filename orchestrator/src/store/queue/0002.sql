-- Version 2: what became of jobs, in order, for those who follow; repositories of a token.
ALTER TABLE token ADD COLUMN repositories TEXT NOT NULL DEFAULT '';  -- names with commas; all where empty
CREATE TABLE feed (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL, job INTEGER NOT NULL, state INTEGER NOT NULL, run TEXT
);
CREATE TRIGGER job_made AFTER INSERT ON job BEGIN
  INSERT INTO feed (at_ms, job, state, run) VALUES
    (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), new.id, new.state, new.run);
END;
CREATE TRIGGER job_moved AFTER UPDATE OF state ON job WHEN new.state IS NOT old.state BEGIN
  INSERT INTO feed (at_ms, job, state, run) VALUES
    (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), new.id, new.state, new.run);
  DELETE FROM feed WHERE seq <= (SELECT max(seq) FROM feed) - 100000;
END;
CREATE INDEX job_commit ON job (new);
