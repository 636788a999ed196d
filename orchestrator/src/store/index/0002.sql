-- Version 2: what pages ask for. Everything is read from the runs again.
ALTER TABLE cell ADD COLUMN good INTEGER NOT NULL DEFAULT 0;    -- attempts that count, by sense
ALTER TABLE cell ADD COLUMN bad INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cell ADD COLUMN silent INTEGER NOT NULL DEFAULT 0;
CREATE INDEX cell_revision ON cell (revision, run) WHERE revision IS NOT NULL;
DELETE FROM attempt;
DELETE FROM flake;
DELETE FROM guest;
DELETE FROM crash;
DELETE FROM finding;
DELETE FROM cell;
DELETE FROM run;
