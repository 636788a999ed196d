-- Version 3: whose turn it is, without a look at every job that a reference ever had.
CREATE INDEX job_turn ON job (repository, reference, started_ms);
