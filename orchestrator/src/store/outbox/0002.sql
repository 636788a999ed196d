-- Version 2: what has left is swept without a look at what waits.
CREATE INDEX message_ended ON message (ended_ms) WHERE state > 0;
