-- Times are nanoseconds since 1970, UTC; NULL is "not yet". Every column that the store works with is a column; what it merely keeps
-- of a record is JSON in rest, without the big texts, which have tables of their own so that listings need not read past them.

-- +goose Up
CREATE TABLE records (
  seq         INTEGER PRIMARY KEY,
  id          TEXT    NOT NULL UNIQUE,
  caller      TEXT    NOT NULL,
  job_type    TEXT    NOT NULL,
  status      TEXT    NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'timeout', 'oom', 'cancelled')),
  durable     INTEGER NOT NULL,           -- accepted by the queue
  attempt     INTEGER NOT NULL,
  worker      TEXT,
  lease       INTEGER,
  created_at  INTEGER NOT NULL,
  dequeued_at INTEGER,
  started_at  INTEGER,
  ended_at    INTEGER CHECK ((ended_at IS NULL) = (status IN ('queued', 'running'))),
  idem_key    TEXT,                       -- of async jobs only
  fingerprint TEXT    NOT NULL,
  own_bytes   INTEGER NOT NULL,           -- all that is kept of it but artifacts
  rest        BLOB    NOT NULL
) STRICT;

-- A status is one of seven, so a listing without one is a merge of seven index ranges, and these four indexes serve every filter.
CREATE INDEX records_by_status             ON records (status, created_at);
CREATE INDEX records_by_type_status        ON records (job_type, status, created_at);
CREATE INDEX records_by_caller_status      ON records (caller, status, created_at);
CREATE INDEX records_by_caller_type_status ON records (caller, job_type, status, created_at);
CREATE UNIQUE INDEX records_by_key         ON records (caller, idem_key) WHERE idem_key IS NOT NULL;
CREATE INDEX records_by_end                ON records (caller, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX records_running               ON records (worker) WHERE status = 'running';

CREATE TABLE texts (
  seq    INTEGER PRIMARY KEY REFERENCES records ON DELETE CASCADE,
  stdout BLOB,
  stderr BLOB,
  output BLOB
) STRICT;

CREATE TABLE requests (
  seq   INTEGER PRIMARY KEY REFERENCES records ON DELETE CASCADE,
  body  BLOB NOT NULL,                    -- JSON without the input
  input BLOB                              -- as it was sent
) STRICT;

CREATE TABLE labels (
  caller     TEXT    NOT NULL,
  name       TEXT    NOT NULL,
  value      TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  seq        INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
  PRIMARY KEY (caller, name, value, created_at, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_of_all    ON labels (name, value, created_at);
CREATE INDEX labels_of_record ON labels (seq);

-- refs counts the rows of artifact_refs. A row with none has lost its last record: its file is still to be removed.
CREATE TABLE artifacts (
  sha256 TEXT    PRIMARY KEY,
  size   INTEGER NOT NULL,
  refs   INTEGER NOT NULL DEFAULT 0 CHECK (refs >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifacts_unused ON artifacts (sha256) WHERE refs = 0;

-- One row for each digest of a record; charged is what the record's caller pays for it, whoever else refers to the same bytes.
CREATE TABLE artifact_refs (
  seq     INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
  sha256  TEXT    NOT NULL REFERENCES artifacts,
  charged INTEGER NOT NULL,
  PRIMARY KEY (seq, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_refs_by_digest ON artifact_refs (sha256);

-- settled is what the caller had when the total was last within its limit: who grew since then pays for the overrun.
CREATE TABLE callers (
  caller  TEXT    PRIMARY KEY,
  bytes   INTEGER NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id         TEXT    NOT NULL,
  caller         TEXT    NOT NULL,
  summary        BLOB,
  error_type     TEXT    NOT NULL,
  error_message  TEXT    NOT NULL,
  retry_count    INTEGER NOT NULL,
  created_at     INTEGER NOT NULL,
  client_ip      TEXT    NOT NULL,
  correlation_id TEXT    NOT NULL
) STRICT;
CREATE INDEX dead_letters_by_time        ON dead_letters (created_at);
CREATE INDEX dead_letters_by_type        ON dead_letters (error_type, created_at);
CREATE INDEX dead_letters_by_caller      ON dead_letters (caller, created_at);
CREATE INDEX dead_letters_by_caller_type ON dead_letters (caller, error_type, created_at);

-- The sums follow the rows, whoever changes them.
-- +goose StatementBegin
CREATE TRIGGER ref_made AFTER INSERT ON artifact_refs BEGIN
  UPDATE artifacts SET refs = refs + 1 WHERE sha256 = new.sha256;
  UPDATE callers SET bytes = bytes + new.charged WHERE caller = (SELECT caller FROM records WHERE seq = new.seq);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER record_made AFTER INSERT ON records BEGIN
  INSERT INTO callers (caller, bytes) VALUES (new.caller, new.own_bytes)
    ON CONFLICT (caller) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER record_grown AFTER UPDATE OF own_bytes ON records BEGIN
  UPDATE callers SET bytes = bytes + new.own_bytes - old.own_bytes WHERE caller = new.caller;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER record_gone BEFORE DELETE ON records BEGIN
  UPDATE callers SET bytes = bytes - old.own_bytes - (SELECT coalesce(sum(charged), 0) FROM artifact_refs WHERE seq = old.seq)
    WHERE caller = old.caller;
  UPDATE artifacts SET refs = refs - 1 WHERE sha256 IN (SELECT sha256 FROM artifact_refs WHERE seq = old.seq);
END;
-- +goose StatementEnd
