-- The outbox, version 1: what is to be told, what was told, and how far the queue's feed was read.
CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,           -- the same letter a second time is not stored
  lane TEXT NOT NULL,                 -- letters of a lane leave one after the other
  letter TEXT NOT NULL,               -- Letter as JSON; no secrets are in it
  state INTEGER NOT NULL DEFAULT 0,   -- 0 waits, 1 delivered, 2 given up, 3 overtaken
  tries INTEGER NOT NULL DEFAULT 0,
  made_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL, ended_ms INTEGER,
  note TEXT NOT NULL DEFAULT ''
);
CREATE INDEX message_due ON message (due_ms) WHERE state = 0;
CREATE INDEX message_lane ON message (lane, id) WHERE state = 0;
CREATE TABLE seen (feed TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE thread (key TEXT PRIMARY KEY, place TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX thread_place ON thread (place);
