//! The SQL statements of the job table. The tests check the query plan of each of them.

/// Defines statements, and the list of all of them.
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$meta])* pub(super) const $name: &str = $sql;)*

        /// All statements, by name.
        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    /// The order is that of the key, so that SQLite stops after the last wanted row.
    NEWEST_JOBS = "SELECT id, etag, body FROM jobs ORDER BY id DESC LIMIT ?1";

    /// The jobs in other states than three, or without one. Each step of the recursion searches the first state behind
    /// the previous one. In this query and those below, the expressions must match the indexed expressions exactly, or
    /// SQLite does not use the index.
    OPEN_JOBS = "WITH RECURSIVE states (state) AS ( \
        SELECT min(json_extract(body, '$.state')) FROM jobs \
        UNION ALL \
        SELECT (SELECT min(json_extract(body, '$.state')) FROM jobs WHERE json_extract(body, '$.state') > states.state) \
        FROM states WHERE state IS NOT NULL \
        ) SELECT id, etag, body FROM states CROSS JOIN jobs ON json_extract(body, '$.state') = states.state \
        WHERE states.state NOT IN (?1, ?2, ?3) \
        UNION ALL SELECT id, etag, body FROM jobs WHERE json_extract(body, '$.state') IS NULL";

    /// The rows of one group. The query must name the index: without statistics SQLite prefers the primary key, which
    /// is already in the requested order, and reads every row of the job.
    GROUP = "SELECT job, id, etag, body, done FROM operations INDEXED BY operations_by_group \
        WHERE job = ?1 AND grp = ?2 ORDER BY id";

    OPERATION = "SELECT job, id, etag, body, done FROM operations WHERE job = ?1 AND id = ?2";

    REPLACE_OPERATION = "UPDATE operations SET etag = etag + 1, state = ?1, time = ?2, body = ?3, done = ?4 \
        WHERE job = ?5 AND id = ?6 AND etag = ?7";

    /// A row of an earlier planning attempt is replaced.
    INSERT_OPERATION = "INSERT INTO operations (job, id, grp, plan, state, time, kind, etag, body, done) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9) \
        ON CONFLICT (job, id) DO UPDATE SET etag = etag + 1, plan = excluded.plan, state = excluded.state, \
        time = excluded.time, kind = excluded.kind, body = excluded.body, done = excluded.done \
        WHERE operations.plan < excluded.plan";

    LATER_PLAN = "SELECT plan FROM operations WHERE job = ?1 AND id = ?2 AND plan > ?3";

    REMOVE_EARLIER = "DELETE FROM operations WHERE job = ?1 \
        AND id IN (SELECT id FROM operations INDEXED BY operations_by_state WHERE job = ?1 AND plan < ?2 LIMIT ?3)";

    IN_STATE_BEFORE = "SELECT id FROM operations INDEXED BY operations_by_state \
        WHERE job = ?1 AND plan = ?2 AND state = ?3 AND time < ?4 ORDER BY time LIMIT ?5";

    IN_STATE_AFTER = "SELECT id FROM operations INDEXED BY operations_by_state \
        WHERE job = ?1 AND plan = ?2 AND state = ?3 AND time > ?4 ORDER BY time LIMIT ?5";

    /// The counts of all rows of a planning attempt. Only the index is read.
    CENSUS = "SELECT kind, state, count(*), max(time) FROM operations INDEXED BY operations_by_state \
        WHERE job = ?1 AND plan = ?2 GROUP BY state, kind";

    REMOVE_OPERATIONS = "DELETE FROM operations WHERE job = ?1 \
        AND id IN (SELECT id FROM operations WHERE job = ?1 LIMIT ?2)";

    REMOVE_EVENTS = "DELETE FROM events WHERE sequence IN \
        (SELECT sequence FROM events INDEXED BY events_by_job WHERE job = ?1 LIMIT ?2)";

    UPLOADS_OF = "SELECT id, body FROM uploads \
        WHERE json_extract(body, '$.image') = ?1 AND json_extract(body, '$.version') = ?2";

    EVENTS = "SELECT sequence, body FROM events INDEXED BY events_by_job WHERE job = ?1 ORDER BY sequence";

    EVENTS_OF = "SELECT sequence, body FROM events INDEXED BY events_by_job WHERE job = ?1 AND operation = ?2 ORDER BY sequence";

    INSERT_JOB = "INSERT OR IGNORE INTO jobs (id, etag, body) VALUES (?1, 1, ?2)";

    JOB = "SELECT id, etag, body FROM jobs WHERE id = ?1";

    JOBS = "SELECT id, etag, body FROM jobs";

    REPLACE_JOB = "UPDATE jobs SET etag = etag + 1, body = ?1 WHERE id = ?2 AND etag = ?3";

    JOB_EXISTS = "SELECT 1 FROM jobs WHERE id = ?1";

    OPERATIONS = "SELECT job, id, etag, body, done FROM operations WHERE job = ?1 ORDER BY id";

    PUT_UPLOAD = "INSERT OR REPLACE INTO uploads (id, body) VALUES (?1, ?2)";

    UPLOAD = "SELECT id, body FROM uploads WHERE id = ?1";

    UPLOADS = "SELECT id, body FROM uploads";

    OPERATION_EXISTS = "SELECT 1 FROM operations WHERE job = ?1 AND id = ?2";

    JOB_ETAG = "SELECT etag FROM jobs WHERE id = ?1";

    REMOVE_JOB = "DELETE FROM jobs WHERE id = ?1";

    APPEND_EVENT = "INSERT INTO events (job, operation, body) VALUES (?1, ?2, ?3)";

    FLEET = "SELECT id FROM fleet";

    INSERT_FLEET = "INSERT OR IGNORE INTO fleet (row, id) VALUES (1, ?1)";

    RECORD = "SELECT name, version, body FROM records WHERE name = ?1";

    RECORDS = "SELECT name, version, body FROM records WHERE name >= ?1 AND name < ?2 ORDER BY name";

    RECORD_EXISTS = "SELECT 1 FROM records WHERE name = ?1";

    INSERT_RECORD = "INSERT OR IGNORE INTO records (name, body) VALUES (?1, ?2)";

    REMOVE_RECORD = "DELETE FROM records WHERE name = ?1 AND version = ?2";

    /// The first opener in each role that decides a gate: pending, failed, cancelled.
    OPENERS = "SELECT \
        (SELECT operation FROM roles WHERE job = ?1 AND plan = ?2 AND role = 0 AND gate = ?3 ORDER BY operation LIMIT 1), \
        (SELECT operation FROM roles WHERE job = ?1 AND plan = ?2 AND role = 1 AND gate = ?3 ORDER BY operation LIMIT 1), \
        (SELECT operation FROM roles WHERE job = ?1 AND plan = ?2 AND role = 2 AND gate = ?3 ORDER BY operation LIMIT 1)";

    /// The operations with a role at a gate.
    AWAITING = "SELECT operation FROM roles WHERE job = ?1 AND plan = ?2 AND role = ?3 AND gate = ?4 ORDER BY operation";

    /// The gates at which operations have a role. Each step searches the first gate behind the previous one.
    GATES = "WITH RECURSIVE gates (gate) AS ( \
        SELECT min(gate) FROM roles WHERE job = ?1 AND plan = ?2 AND role = ?3 \
        UNION ALL \
        SELECT (SELECT min(gate) FROM roles WHERE job = ?1 AND plan = ?2 AND role = ?3 AND gate > gates.gate) \
        FROM gates WHERE gate IS NOT NULL \
        ) SELECT gate FROM gates WHERE gate IS NOT NULL";

    INSERT_ROLE = "INSERT OR IGNORE INTO roles (job, plan, role, gate, operation) VALUES (?1, ?2, ?3, ?4, ?5)";

    DELETE_ROLE = "DELETE FROM roles WHERE job = ?1 AND plan = ?2 AND role = ?3 AND gate = ?4 AND operation = ?5";

    DELETE_EARLIER_ROLES = "DELETE FROM roles WHERE job = ?1 AND plan < ?2";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Database;

    /// The query plan of SQLite.
    async fn plan(database: &Database, sql: &'static str) -> Vec<String> {
        let failed = database.sqlite_error();
        let explain = move |connection: &rusqlite::Connection| {
            let mut select = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).map_err(&failed)?;
            let unbound =
                rusqlite::params_from_iter(std::iter::repeat_n(rusqlite::types::Null, select.parameter_count()));
            let lines = select.query_map(unbound, |row| row.get::<_, String>(3)).map_err(&failed)?;
            lines.collect::<Result<Vec<_>, _>>().map_err(&failed)
        };
        database.read(explain).await.unwrap()
    }

    /// What a statement may read besides the rows that it needs. Every other line of a plan must be a search by all
    /// columns that the statement compares.
    fn may(name: &str, line: &str) -> bool {
        let by_job = match name {
            // These list all rows of a job or of a planning attempt, or count them in the index.
            "OPERATIONS" => "operations USING PRIMARY KEY (job=?)",
            "REMOVE_OPERATIONS" => "operations USING COVERING INDEX operations_by_state (job=?)",
            // The result has a row for each kind and state.
            "CENSUS" if line == "USE TEMP B-TREE FOR GROUP BY" => return true,
            "CENSUS" => "operations USING COVERING INDEX operations_by_state (job=? AND plan=?)",
            "REMOVE_EARLIER" => "operations USING COVERING INDEX operations_by_state (job=? AND plan<?)",
            "DELETE_EARLIER_ROLES" => "roles USING PRIMARY KEY (job=? AND plan<?)",
            // Only the events of one operation are in the order of the index.
            "EVENTS" if line == "USE TEMP B-TREE FOR ORDER BY" => return true,
            "EVENTS" => "events USING INDEX events_by_job (job=?)",
            "REMOVE_EVENTS" => "events USING COVERING INDEX events_by_job (job=?)",
            // The key is read from its end, and the rows of the recursion.
            "NEWEST_JOBS" | "JOBS" => return line == "SCAN jobs",
            // The first state, those behind it, and the rows of the recursion.
            "OPEN_JOBS" if line == "SCAN states" => return true,
            "OPEN_JOBS" if line == "SEARCH jobs USING COVERING INDEX jobs_by_state" => return true,
            "OPEN_JOBS" => "jobs USING COVERING INDEX jobs_by_state (<expr>>?)",
            "UPLOADS" => return line == "SCAN uploads",
            // The table has one row.
            "FLEET" => return line == "SCAN fleet",
            "GATES" if line == "SCAN gates" => return true,
            "OPENERS" if line == "SCAN CONSTANT ROW" => return true,
            _ => return false,
        };
        line == format!("SEARCH {by_job}")
    }

    const SEARCHES: [&str; 22] = [
        "jobs USING PRIMARY KEY (id=?)",
        "jobs USING INDEX jobs_by_state (<expr>=?)",
        "uploads USING PRIMARY KEY (id=?)",
        "uploads USING INDEX uploads_by_version (<expr>=? AND <expr>=?)",
        "operations USING PRIMARY KEY (job=? AND id=?)",
        "operations USING INDEX operations_by_group (job=? AND grp=?)",
        "operations USING COVERING INDEX operations_by_state (job=? AND plan=? AND state=? AND time<?)",
        "operations USING COVERING INDEX operations_by_state (job=? AND plan=? AND state=? AND time>?)",
        "events USING INDEX events_by_job (job=? AND operation=?)",
        "events USING INTEGER PRIMARY KEY (rowid=?)",
        "roles USING PRIMARY KEY (job=? AND plan=? AND role=?)",
        "roles USING PRIMARY KEY (job=? AND plan=? AND role=? AND gate=?)",
        "roles USING PRIMARY KEY (job=? AND plan=? AND role=? AND gate>?)",
        "roles USING PRIMARY KEY (job=? AND plan=? AND role=? AND gate=? AND operation=?)",
        "roles USING COVERING INDEX sqlite_autoindex_roles_1 (job=? AND plan=? AND role=? AND gate=?)",
        "roles USING COVERING INDEX sqlite_autoindex_roles_1 (job=? AND plan=? AND role=?)",
        "roles USING COVERING INDEX sqlite_autoindex_roles_1 (job=? AND plan=? AND role=? AND gate>?)",
        "roles USING COVERING INDEX sqlite_autoindex_roles_1 (job=? AND plan=? AND role=? AND gate=? AND operation=?)",
        "records USING INDEX sqlite_autoindex_records_1 (name=?)",
        "records USING COVERING INDEX sqlite_autoindex_records_1 (name=?)",
        "records USING INDEX sqlite_autoindex_records_1 (name>? AND name<?)",
        "records USING INTEGER PRIMARY KEY (rowid=?)",
    ];

    #[tokio::test]
    async fn no_statement_reads_more_rows_of_a_job_than_it_needs() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = Database::open(&folder.path().join("goldfleet.db")).unwrap();
        let mut wrong = Vec::new();
        for (name, sql) in ALL {
            for line in plan(&database, sql).await {
                let searches = SEARCHES.iter().any(|search| line == format!("SEARCH {search}"));
                let reads = ["SCAN", "SEARCH", "USE TEMP"].iter().any(|start| line.starts_with(start));
                if reads && !searches && !may(name, &line) {
                    wrong.push(format!("{name}: {line}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
