//! Real processes on a database of which rows are damaged.

use goldfleet_disk::GoldenSpec;
use goldfleet_model::manifest::Generation;
use goldfleet_tests::process_fixture::{self, ProcessFixture};

const MIB: u64 = 1 << 20;

/// A job and an operation of another job are damaged. All other operations succeed, and `jobs`, `status` and `doctor`
/// name both rows.
#[test]
fn damaged_rows_are_shown_and_everything_else_finishes() {
    let fixture = ProcessFixture::new(
        &format!("{}[dispatch]\nsweep = \"200ms\"\n", process_fixture::SOURCE),
        &process_fixture::targets(2, &["westeurope", "eastus"]),
        &GoldenSpec::spread(64 * MIB, Generation::V1, MIB, 1, 7),
    );
    fixture.succeed(&fixture.upload(&[]));
    let bad = fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    let database = rusqlite::Connection::open(fixture.path("goldfleet.db")).unwrap();
    let execute = |sql: &str| assert_eq!(database.execute(sql, []).unwrap(), 1, "{sql}");
    execute("UPDATE jobs SET body = json_set(body, '$.state', 'dreaming')");
    fixture.succeed(&["upload", "golden.vhd", "--image", "golden", "--version", "2", "--os", "linux"]);
    let dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    fixture.wait_until("a plan", |status| status["planned"] == true);
    let one = "(SELECT min(id) FROM operations WHERE kind = 'image')";
    execute(&format!("UPDATE operations SET body = json_remove(body, '$.updated') WHERE id = {one}"));
    let damaged: String = database.query_row(&format!("SELECT {one}"), [], |row| row.get(0)).unwrap();
    let _worker = fixture.start("goldfleet-worker", &[]);
    let status = fixture.wait_for_job();
    drop(dispatcher);

    assert_eq!(
        (&status["state"], &status["phases"]["image"]["succeeded"]),
        (&"failed".into(), &3.into()),
        "{status:#}"
    );
    assert_eq!(status["phases"]["copy"]["succeeded"], 4);
    assert_eq!(status["unreadable"][0]["id"], damaged.as_str());
    assert_eq!(status["unreadable_jobs"][0]["id"], bad.as_str());
    let shown = |arguments: &[&str], code: i32| {
        let output = fixture.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        text
    };
    let (jobs, status, doctor) = (shown(&["jobs"], 0), shown(&["status"], 1), shown(&["doctor"], 1));
    for (text, names) in [(&jobs, &[&bad][..]), (&status, &[&bad, &damaged]), (&doctor, &[&bad])] {
        assert!(names.iter().all(|name| text.contains(name.as_str())), "{text}");
        assert!(text.contains("row-damaged") && text.contains("Restore the row"), "{text}");
    }
    assert!(jobs.contains("1 unreadable"), "{jobs}");
}
