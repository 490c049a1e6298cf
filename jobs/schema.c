/* Each migration runs in one transaction and is never changed once released: corrections are new
 * migrations. CHECK constraints repeat the words of states.c; test_schema.c compares them. */
#include "jobs/schema.h"

static const char *const version_1[] = {
        "CREATE TABLE device_group ("
        "  id INTEGER PRIMARY KEY,"
        "  name TEXT NOT NULL UNIQUE,"
        "  description TEXT NOT NULL,"
        "  created INTEGER NOT NULL" /* Unix milliseconds, as every time here */
        ") STRICT;",

        "CREATE TABLE job ("
        "  id INTEGER PRIMARY KEY,"
        "  uuid TEXT NOT NULL UNIQUE,"
        "  name TEXT NOT NULL UNIQUE,"
        "  state TEXT NOT NULL CHECK (state IN ('Pending approval', 'Pending', 'In progress',"
        "    'Completed', 'Terminated', 'Rejected', 'Failed')),"
        "  rows INTEGER NOT NULL CHECK (rows > 0),"
        "  root BLOB NOT NULL CHECK (length(root) = 32),"
        "  profile TEXT NOT NULL,"
        "  binding TEXT NOT NULL,"
        "  keys TEXT NOT NULL DEFAULT 'device' CHECK (keys IN ('device', 'signer')),"
        "  key_type TEXT NOT NULL DEFAULT ''," /* of its profile; known with the approval */
        "  reissue INTEGER NOT NULL DEFAULT 0 CHECK (reissue IN (0, 1)),"
        "  stations TEXT NOT NULL," /* separated by commas */
        "  manifest_sha256 TEXT NOT NULL,"
        "  quota INTEGER NOT NULL,"
        "  registered INTEGER NOT NULL DEFAULT 0 CHECK (registered BETWEEN 0 AND rows),"
        "  ticket TEXT,"
        "  approver TEXT,"
        "  not_after INTEGER,"
        "  created INTEGER NOT NULL,"
        "  approved INTEGER,"
        "  completed INTEGER,"
        "  CHECK (state <> 'In progress' OR ticket IS NOT NULL)"
        ") STRICT;",
        /* The same file again is a mistake, unless its devices are to get new certificates. */
        "CREATE UNIQUE INDEX job_manifest ON job (manifest_sha256)"
        "  WHERE state NOT IN ('Terminated', 'Rejected', 'Failed') AND reissue = 0;",

        "CREATE TABLE device ("
        "  id INTEGER PRIMARY KEY,"
        "  uuid TEXT NOT NULL,"
        "  device_group INTEGER NOT NULL REFERENCES device_group,"
        "  name TEXT NOT NULL,"
        "  hwid TEXT,"
        "  state TEXT NOT NULL"
        "    CHECK (state IN ('Enrolled', 'Registered', 'Provisioned', 'Deleted')),"
        "  status TEXT NOT NULL DEFAULT 'Enabled' CHECK (status IN ('Enabled', 'Disabled')),"
        /* The job that works on it, or was the last to: an approved re-issue job takes it over. */
        "  job INTEGER NOT NULL REFERENCES job,"
        "  row_index INTEGER NOT NULL,"
        /* What its last run in that job came to; the run itself is run.id = last_run. */
        "  result TEXT NOT NULL DEFAULT 'untouched'"
        "    CHECK (result IN ('untouched', 'active', 'passed', 'failed', 'quarantined')),"
        "  attempts INTEGER NOT NULL DEFAULT 0,"
        "  last_run INTEGER REFERENCES run,"
        "  updated INTEGER NOT NULL,"
        "  UNIQUE (job, row_index)"
        ") STRICT;",
        /* A deleted device's name, and the ID derived from it, may be given again. */
        "CREATE UNIQUE INDEX device_uuid ON device (uuid) WHERE state <> 'Deleted';",
        "CREATE INDEX device_deleted ON device (uuid) WHERE state = 'Deleted';",
        "CREATE UNIQUE INDEX device_name ON device (name, device_group) WHERE state <> 'Deleted';",
        "CREATE UNIQUE INDEX device_hwid ON device (hwid)"
        "  WHERE hwid IS NOT NULL AND state <> 'Deleted';",
        /* Import writes none of it: a job's untouched devices are all the others. */
        "CREATE INDEX device_result ON device (job, result) WHERE result <> 'untouched';",

        "CREATE TABLE attribute ("
        "  device INTEGER NOT NULL REFERENCES device,"
        "  key TEXT NOT NULL,"
        "  value TEXT NOT NULL,"
        "  PRIMARY KEY (device, key)"
        ") STRICT, WITHOUT ROWID;",

        /* The canonical row (base/row.h) that the approver of its job signed for. */
        "CREATE TABLE job_row ("
        "  device INTEGER PRIMARY KEY REFERENCES device,"
        "  row BLOB NOT NULL"
        ") STRICT;",

        /* Rows of a re-issue job for devices that there are: when it is approved, they move to it. */
        "CREATE TABLE job_next ("
        "  job INTEGER NOT NULL REFERENCES job,"
        "  row_index INTEGER NOT NULL,"
        "  device INTEGER NOT NULL UNIQUE REFERENCES device,"
        "  row BLOB NOT NULL,"
        "  PRIMARY KEY (job, row_index)"
        ") STRICT, WITHOUT ROWID;",
        /* What a job's report says of a device that has moved to a later one. */
        "CREATE TABLE job_past ("
        "  job INTEGER NOT NULL REFERENCES job,"
        "  row_index INTEGER NOT NULL,"
        "  device INTEGER NOT NULL REFERENCES device,"
        "  result TEXT NOT NULL CHECK (result IN ('untouched', 'passed', 'failed', 'quarantined')),"
        "  attempts INTEGER NOT NULL,"
        "  last_run INTEGER REFERENCES run,"
        "  PRIMARY KEY (job, row_index)"
        ") STRICT, WITHOUT ROWID;",
        "CREATE INDEX job_past_device ON job_past (device);",

        /* The job's Merkle tree, 256 hashes a tile (base/merkle.h); level 0 holds the leaves. */
        "CREATE TABLE job_tile ("
        "  job INTEGER NOT NULL REFERENCES job,"
        "  tile_level INTEGER NOT NULL,"
        "  tile_index INTEGER NOT NULL,"
        "  hashes BLOB NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192),"
        "  UNIQUE (job, tile_level, tile_index)"
        ") STRICT;",

        "CREATE TABLE run ("
        "  id INTEGER PRIMARY KEY,"
        "  uuid TEXT NOT NULL UNIQUE,"
        "  job INTEGER NOT NULL REFERENCES job,"
        "  device INTEGER NOT NULL REFERENCES device,"
        "  slot TEXT NOT NULL,"
        "  driver TEXT NOT NULL,"
        "  attempt INTEGER NOT NULL CHECK (attempt > 0)," /* counted in each job anew */
        "  step TEXT NOT NULL CHECK (step IN ('claimed', 'identified', 'keyed', 'certified',"
        "    'installed', 'verified', 'recorded', 'failed', 'quarantined')),"
        "  started INTEGER NOT NULL,"
        "  ended INTEGER,"
        "  error TEXT,"
        "  message TEXT,"
        "  UNIQUE (device, job, attempt),"
        "  CHECK ((ended IS NULL) = (step NOT IN ('recorded', 'failed', 'quarantined'))),"
        "  CHECK ((error IS NULL) = (step NOT IN ('failed', 'quarantined')))"
        ") STRICT;",
        "CREATE UNIQUE INDEX run_active_device ON run (device) WHERE ended IS NULL;",
        "CREATE UNIQUE INDEX run_active_slot ON run (slot) WHERE ended IS NULL;",
        "CREATE INDEX run_cycle ON run (job, step, (ended - started));",
        "CREATE INDEX run_error ON run (job, error) WHERE error IS NOT NULL;",
        "CREATE INDEX run_first ON run (job, step, attempt);",
        "CREATE INDEX run_time ON run (job, started);",

        "CREATE TABLE certificate ("
        "  id INTEGER PRIMARY KEY,"
        "  serial TEXT NOT NULL UNIQUE,"
        "  device INTEGER NOT NULL REFERENCES device,"
        "  run INTEGER NOT NULL REFERENCES run,"
        "  der BLOB NOT NULL,"
        "  sha256 TEXT NOT NULL,"
        "  spki_sha256 TEXT NOT NULL,"
        "  issued INTEGER NOT NULL,"
        /* Where its key was born: the signer's word, never changed. */
        "  key_origin TEXT NOT NULL CHECK (key_origin IN ('device', 'signer')),"
        "  state TEXT NOT NULL DEFAULT 'valid' CHECK (state IN ('valid', 'revoked'))"
        ") STRICT;",
        "CREATE INDEX certificate_origin ON certificate (run) WHERE key_origin = 'signer';",
        "CREATE UNIQUE INDEX certificate_valid ON certificate (device) WHERE state = 'valid';",
        "CREATE INDEX certificate_device ON certificate (device);",
        "CREATE INDEX certificate_key ON certificate (spki_sha256);",
        "CREATE INDEX certificate_run ON certificate (run);",

        "CREATE TABLE event ("
        "  seq INTEGER PRIMARY KEY,"
        "  time INTEGER NOT NULL,"
        "  actor TEXT NOT NULL,"
        "  type TEXT NOT NULL,"
        "  subject TEXT NOT NULL,"
        "  data TEXT NOT NULL,"
        "  leaf BLOB NOT NULL CHECK (length(leaf) = 32)"
        ") STRICT;",
        "CREATE INDEX event_subject ON event (subject);",

        "CREATE TABLE outbox ("
        "  record INTEGER PRIMARY KEY,"
        "  event INTEGER NOT NULL UNIQUE REFERENCES event,"
        /* Of device.registered only: did this device reach upstream? */
        "  device INTEGER REFERENCES device,"
        "  job INTEGER REFERENCES job,"
        "  body TEXT NOT NULL"
        ") STRICT;",
        "CREATE INDEX outbox_device ON outbox (device) WHERE device IS NOT NULL;",

        "CREATE TABLE batch ("
        "  first INTEGER PRIMARY KEY REFERENCES outbox (record),"
        "  last INTEGER NOT NULL UNIQUE REFERENCES outbox (record),"
        "  sha256 TEXT NOT NULL,"
        "  state TEXT NOT NULL CHECK (state IN ('pending', 'acknowledged', 'refused')),"
        "  error TEXT,"
        "  message TEXT,"
        "  created INTEGER NOT NULL,"
        "  acked_at INTEGER,"
        "  CHECK (first <= last),"
        "  CHECK ((acked_at IS NOT NULL) = (state = 'acknowledged')),"
        "  CHECK ((error IS NOT NULL) = (state = 'refused'))"
        ") STRICT;",
        "CREATE INDEX batch_state ON batch (state, first);",
        NULL,
};

static const char *const *const migrations[] = {version_1};

size_t schema_version(void)
{
    return sizeof migrations / sizeof *migrations;
}

const char *const *schema_migration(size_t i)
{
    return migrations[i];
}
