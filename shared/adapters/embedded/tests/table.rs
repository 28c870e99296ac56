//! The SQLite queue and job table: the conformance suites, several users of one file, and a killed process.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_embedded::{Database, LockTimeouts, SqliteJobTable, SqliteQueue};
use goldfleet_model::message::QueueName;
use goldfleet_ports::clock::SystemClock;
use goldfleet_ports::conformance::clock::ManualClock;
use goldfleet_ports::conformance::job_table::DamageRows;
use goldfleet_ports::conformance::{job_table, queue, records};
use goldfleet_ports::job_table::JobTable as _;
use goldfleet_ports::listing::RowName;
use goldfleet_ports::queue::Queue;
use goldfleet_ports::records::Records as _;
use jiff::Timestamp;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn queue_conforms() {
    let folder = TempDir::new().unwrap();
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let database = Database::open(&folder.path().join("goldfleet.db")).unwrap();
    queue::all(&SqliteQueue::new(database, Arc::new(clock.clone())), &clock).await;
}

/// The clock of the machine was ahead while messages were sent and received, and was then set right.
#[tokio::test(flavor = "multi_thread")]
async fn messages_do_not_stay_hidden_after_the_clock_was_set_back() {
    let folder = TempDir::new().unwrap();
    let queue = |hours: i64| {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hours));
        SqliteQueue::new(Database::open(&folder.path().join("goldfleet.db")).unwrap(), Arc::new(clock))
    };
    let (ahead, right) = (queue(5), queue(0));
    ahead.send(QueueName::Copy, "sent", Duration::ZERO).await.unwrap();
    ahead.send(QueueName::Copy, "delayed", Duration::from_secs(60)).await.unwrap();
    ahead.receive(QueueName::Copy, 1, Duration::from_secs(60)).await.unwrap();
    // The first call makes them visible.
    assert!(right.receive(QueueName::Copy, 9, Duration::from_secs(60)).await.unwrap().is_empty());
    let received = right.receive(QueueName::Copy, 9, Duration::from_secs(60)).await.unwrap();
    assert_eq!(received.iter().map(|one| one.body.as_str()).collect::<Vec<_>>(), ["sent", "delayed"]);
    assert!(right.receive(QueueName::Copy, 9, Duration::from_secs(60)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn job_table_conforms() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("goldfleet.db");
    job_table::all(&SqliteJobTable::new(Database::open(&file).unwrap()), &OtherProgram(file)).await;
}

/// Another program that writes to the file.
struct OtherProgram(PathBuf);

#[async_trait]
impl DamageRows for OtherProgram {
    async fn replace_body(&self, row: &RowName, body: &str) {
        let connection = rusqlite::Connection::open(&self.0).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        let changed = match row {
            RowName::Job(id) => {
                connection.execute("UPDATE jobs SET body = ?1 WHERE id = ?2", (body, id.as_str())).unwrap()
            }
            RowName::Upload(id) => {
                connection.execute("UPDATE uploads SET body = ?1 WHERE id = ?2", (body, id.as_str())).unwrap()
            }
            RowName::Operation(job, id) => {
                let parsed: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
                let sql = "UPDATE operations SET body = ?1, state = coalesce(?2, state) WHERE job = ?3 AND id = ?4";
                connection.execute(sql, (body, parsed["state"].as_str(), job.as_str(), id.to_string())).unwrap()
            }
        };
        assert_eq!(changed, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_conform() {
    let folder = TempDir::new().unwrap();
    let table = SqliteJobTable::new(Database::open(&folder.path().join("goldfleet.db")).unwrap());
    records::all(&table, &table).await;
}

/// Two processes that open a new file at the same time agree on the fleet id, and it survives.
#[tokio::test(flavor = "multi_thread")]
async fn fleet_id_belongs_to_the_file() {
    let folder = TempDir::new().unwrap();
    let open = |name: &str| SqliteJobTable::new(Database::open(&folder.path().join(name)).unwrap());
    let (first, second) = (open("goldfleet.db"), open("goldfleet.db"));
    let (a, b) = tokio::join!(first.fleet(), second.fleet());
    assert_eq!(a.unwrap(), b.unwrap());
    drop(second);
    assert_eq!(first.fleet().await.unwrap(), open("goldfleet.db").fleet().await.unwrap());
    assert_ne!(first.fleet().await.unwrap(), open("other.db").fleet().await.unwrap());
}

#[test]
fn foreign_database_is_rejected() {
    let folder = TempDir::new().unwrap();
    let message = |name: &str| {
        let error = Database::open(&folder.path().join(name)).err().unwrap();
        let text = error.to_string().replace(&folder.path().display().to_string(), "FOLDER");
        format!("{}: {text}", error.code)
    };
    std::fs::write(folder.path().join("text.db"), "no database at all, but long enough to look like one".repeat(40))
        .unwrap();
    let newer = rusqlite::Connection::open(folder.path().join("newer.db")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    let earlier = rusqlite::Connection::open(folder.path().join("earlier.db")).unwrap();
    earlier.pragma_update(None, "user_version", 1).unwrap();
    let foreign = rusqlite::Connection::open(folder.path().join("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE jobs (id TEXT)").unwrap();
    let files = ["text.db", "newer.db", "earlier.db", "foreign.db", "missing/new.db"];
    insta::assert_snapshot!(files.map(message).join("\n"));
}

/// A write to a file that nobody can open again would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_database_file_is_detected() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("goldfleet.db");
    let table = SqliteJobTable::new(Database::open(&file).unwrap());
    assert!(table.jobs().await.unwrap().is_empty());
    std::fs::rename(&file, folder.path().join("aside.db")).unwrap();
    assert_eq!(table.jobs().await.unwrap_err().code, "database-gone");
    let other = SqliteJobTable::new(Database::open(&file).unwrap());
    assert!(other.jobs().await.unwrap().is_empty());
    let error = table.jobs().await.unwrap_err();
    assert_eq!(error.code, "database-gone");
    let said = error.to_string().replace(&folder.path().display().to_string(), "FOLDER");
    assert_eq!(said, "FOLDER/goldfleet.db was removed or replaced while it was in use: start again what uses it");
}

/// A file of an older program with the same format lacks an index and tables. Opening it adds them, and its rows are
/// found.
#[tokio::test(flavor = "multi_thread")]
async fn older_database_file_is_usable() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("goldfleet.db");
    drop(Database::open(&file).unwrap());
    let earlier = rusqlite::Connection::open(&file).unwrap();
    earlier.execute_batch("DROP INDEX jobs_by_state; DROP TABLE records; DROP TABLE fleet").unwrap();
    let body = |n: u32, state: &str| {
        let image = json!({ "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) });
        let payload = json!({ "os": "linux", "generation": "v2", "size": 1, "data_bytes": 1 });
        let at = Timestamp::UNIX_EPOCH;
        json!({
            "id": format!("job-{n}"), "image": image, "payload": payload, "selection": [], "state": state,
            "created": at, "updated": at,
        })
    };
    for (n, state) in [(1, "running"), (2, "failed")] {
        let insert = "INSERT INTO jobs (id, etag, body) VALUES (?1, 1, ?2)";
        earlier.execute(insert, (format!("job-{n}"), body(n, state).to_string())).unwrap();
    }
    drop(earlier);

    let table = SqliteJobTable::new(Database::open(&file).unwrap());
    let open = table.open_jobs().await.unwrap();
    assert_eq!(open.iter().map(|job| job.value.id.as_str()).collect::<Vec<_>>(), ["job-1"]);
    assert_eq!(table.list("").await.unwrap(), []);
    assert_eq!(table.fleet().await.unwrap(), table.fleet().await.unwrap());
    let version = rusqlite::Connection::open(&file).unwrap();
    let version: i64 = version.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, Database::FORMAT_VERSION, "the earlier program can still read it");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_open_of_new_file_works() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("goldfleet.db");
    let opened: Vec<_> = (0..8)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || Database::open(&file).map(|_| ()))
        })
        .collect();
    for thread in opened {
        thread.join().unwrap().unwrap();
    }
}

/// The environment variable that makes this test binary the process to kill.
const VICTIM: &str = "GOLDFLEET_TEST_VICTIM";

/// The process to kill: for each number it sends a message to one queue and then to another, and then deletes the
/// first.
#[test]
#[ignore = "only to be killed by another test"]
fn killed_process_role() {
    let file = std::env::var(VICTIM).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = open(Path::new(&file));
        for n in 0_u64.. {
            queue.send(QueueName::Seed, &n.to_string(), Duration::ZERO).await.unwrap();
            for received in queue.receive(QueueName::Seed, 32, Duration::from_millis(50)).await.unwrap() {
                queue.send(QueueName::Copy, &received.body, Duration::ZERO).await.unwrap();
                queue.delete(QueueName::Seed, &received.receipt).await.unwrap();
            }
        }
    });
}

/// The process that holds the write lock. It stops itself, if the second variable is set.
#[test]
#[ignore = "only to be run by another test"]
fn holding_process_role() {
    let connection = rusqlite::Connection::open(std::env::var(VICTIM).unwrap()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    if std::env::var_os(STOPS).is_some() {
        kill_process(getpid(), Signal::STOP).unwrap();
    }
    loop {
        std::thread::park();
    }
}

/// The environment variable that lets the process that holds the lock stop itself.
const STOPS: &str = "GOLDFLEET_TEST_STOPS";

/// Starts a process that holds the write lock, with this name of its program, and waits until it does.
fn hold(file: &Path, program: &str, stops: bool) -> Child {
    let path = file.with_file_name(program);
    std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    let mut command = Command::new(&path);
    command.args(["holding_process_role", "--exact", "--quiet", "--ignored"]).env(VICTIM, file).stdout(Stdio::null());
    if stops {
        command.env(STOPS, "1");
    }
    let child = command.spawn().unwrap();
    let other = rusqlite::Connection::open(file).unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    while other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() || (stops && !stat().contains(") T ")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// A stopped process of goldfleet that holds the write lock is named, and killed after a lease. One that runs, and one
/// of another program, are only named.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_process_that_holds_the_lock_is_killed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("goldfleet.db");
    drop(Database::open(&file).unwrap());
    let timeouts = LockTimeouts { busy: Duration::from_millis(50), stopped: Duration::from_millis(300) };
    let queue = SqliteQueue::new(Database::open_with(&file, timeouts).unwrap(), Arc::new(SystemClock));
    let send = async || queue.send(QueueName::Seed, "1", Duration::ZERO).await;
    for (program, stops) in [("goldfleet-test", false), ("another", true)] {
        let mut child = hold(&file, program, stops);
        let began = std::time::Instant::now();
        while began.elapsed() < 2 * timeouts.stopped {
            let error = send().await.unwrap_err();
            assert_eq!(error.code, "database-held");
            let (named, stopped) = (format!("process {} ({program})", child.id()), error.to_string().contains("CONT"));
            assert!(error.to_string().contains(&named) && stopped == stops, "{error}");
        }
        assert!(child.try_wait().unwrap().is_none(), "it is not killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = hold(&file, "goldfleet-test", true);
    let began = std::time::Instant::now();
    assert_eq!(send().await.unwrap_err().code, "database-held");
    while send().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the lock is still held");
    }
    assert!(began.elapsed() >= timeouts.stopped);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(queue.depth(QueueName::Seed).await.unwrap(), 1);
}

fn open(file: &Path) -> SqliteQueue {
    SqliteQueue::new(Database::open(file).unwrap(), Arc::new(SystemClock))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_process_loses_no_message_or_data() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("goldfleet.db");
    let queue = open(&file);
    for round in 0..6_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed_process_role", "--exact", "--quiet", "--ignored"])
            .env(VICTIM, &file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = queue.depth(QueueName::Copy).await.unwrap();
        while queue.depth(QueueName::Copy).await.unwrap() < before + 20 + round * 7 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let connection = rusqlite::Connection::open(&file).unwrap();
        let whole: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        // Each process counts from 0. All numbers up to its last one arrived, without gaps.
        let sent: Vec<u64> = connection
            .prepare("SELECT CAST(body AS INTEGER) FROM messages ORDER BY 1")
            .unwrap()
            .query_map([], |row| row.get::<_, i64>(0))
            .unwrap()
            .map(|n| n.unwrap().unsigned_abs())
            .collect();
        let last = *sent.last().unwrap();
        assert!((0..=last).all(|n| sent.binary_search(&n).is_ok()), "a message below {last} is missing");
    }
}
