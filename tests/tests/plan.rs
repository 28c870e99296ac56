//! `goldfleet plan` on a small fleet: its JSON, its picture, its refusals, and what it says once something lies in the
//! stores. And a job along a deeper tree than two regions have by themselves.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::sync::Arc;

use clap::Parser as _;
use goldfleet_dispatcher::cli::arguments::Arguments;
use goldfleet_dispatcher::cli::output::Console;
use goldfleet_dispatcher::cli::run::run;
use goldfleet_shared::config::Config;
use goldfleet_tests::fleet::Fleet;
use serde_json::Value;

/// What `goldfleet plan` writes to standard output or says as its error, and its exit code.
fn plan(fleet: &Fleet, version: &str, more: &[&str]) -> (u8, String) {
    let config = fleet.golden().with_file_name("goldfleet.toml").display().to_string();
    let line = ["goldfleet", "--config", &config, "plan", "--image", "golden", "--version", version];
    let parsed = Arguments::try_parse_from([&line[..], more].concat()).unwrap();
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console::plain(parsed.output, &mut out, &mut notes);
    match run(parsed, &mut console) {
        Ok(code) => (code, String::from_utf8(out).unwrap()),
        Err(error) => (error.exit_code(), error.to_string()),
    }
}

fn json(fleet: &Fleet, version: &str) -> Value {
    let (code, text) = plan(fleet, version, &["--output", "json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_plan_is_shown_in_every_form_and_knows_what_is_there() {
    let fleet = Fleet::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fleet.upload(&fleet.ports, "1")).unwrap();

    let first = json(&fleet, "1");
    let unique = first["unique_bytes"].as_u64().unwrap();
    for key in
        ["image", "version", "digest", "data_bytes", "source", "targets", "skipped", "estimate", "baselines", "rates"]
    {
        assert!(!first[key].is_null(), "{key}");
    }
    assert_eq!(first["links"][0]["bytes_at_most"], first["unique_bytes"]);
    assert_eq!(first["links"][0]["bytes"], first["unique_bytes"]);
    assert_eq!(first["links"][0]["wan"], true);
    assert_eq!(first["estimate"]["wan_bytes"], first["unique_bytes"]);
    assert_eq!(
        first["baselines"]["one_source"]["wan_bytes"].as_u64().unwrap(),
        2 * first["data_bytes"].as_u64().unwrap()
    );
    assert_eq!(first["targets"].as_array().unwrap().len(), 4);

    let (code, text) = plan(&fleet, "1", &[]);
    assert!(code == 0 && text.contains("└─ stage1eastus/vhds (eastus)") && text.contains("what binds"), "{text}");
    let (code, picture) = plan(&fleet, "1", &["--output", "svg"]);
    assert!(code == 0 && picture.starts_with("<svg") && picture.contains("eastus"), "{picture}");
    let (code, refusal) = plan(&fleet, "1", &["--within", "1s"]);
    assert!(code == 2 && refusal.starts_with("no plan makes it within 1s: the fastest takes"), "{refusal}");

    // Once a job has filled the region's store, a next version is planned to move what changed and nothing else.
    let job = runtime.block_on(fleet.request("1"));
    let status = runtime.block_on(fleet.run(&fleet.ports, 2, &job));
    fleet.change_golden();
    runtime.block_on(fleet.upload(&fleet.ports, "2")).unwrap();
    let next = json(&fleet, "2");
    let bytes = next["links"][0]["bytes"].as_u64().unwrap();
    assert!(bytes > 0 && bytes < unique, "{bytes} of {unique}, after {status:?}");
    assert_eq!(next["links"][0]["chunks"], 1);
}

/// Rates by which a relay pays, and by which an account feeds one reader only.
const ODD_RATES: &str = r#"
    [geography]
    date = "never"
    source = "made up"
    regions = { eastus = { continent = "asia" }, japaneast = { continent = "asia" } }
    [egress]
    date = "never"
    source = "made up"
    continents = { europe = { leaving = 0.16 }, northamerica = { leaving = 0.01 } }
    [accounts]
    date = "never"
    source = "made up"
    large = { egress_gbit_per_second = 0.6 }
    other = { egress_gbit_per_second = 0.6 }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_by_a_relay_and_through_several_stores_of_a_region() {
    let mut fleet = Fleet::new();
    let file = |name: &str| fleet.golden().with_file_name(name);
    let mut config = std::fs::read_to_string(file("goldfleet.toml")).unwrap();
    // Nothing is that fast: the job runs all the same.
    config += "\n[plan]\nrates = \"rates.toml\"\nwithin = \"1s\"\n";
    let mut targets = std::fs::read_to_string(file("targets.toml")).unwrap();
    targets += "[[store]]\nregion = \"centralus\"\naccount = \"goldrelay\"\ncontainer = \"golden\"\n";
    for n in 1..=3 {
        write!(
            targets,
            "[[target]]\nsubscription = \"00000000-0000-0000-0000-{n:012}\"\nregion = \"japaneast\"\n\
             resource_group = \"images\"\naccount = \"stage{n}japaneast\"\ncontainer = \"vhds\"\n"
        )
        .unwrap();
    }
    std::fs::write(file("goldfleet.toml"), config).unwrap();
    std::fs::write(file("targets.toml"), targets).unwrap();
    std::fs::write(file("rates.toml"), ODD_RATES).unwrap();
    let config = Config::load(Some(&file("goldfleet.toml")), std::iter::empty()).unwrap();
    fleet.config = Arc::new(config);

    fleet.upload(&fleet.ports, "1").await.unwrap();
    let job = fleet.request("1").await;
    let status = fleet.run(&fleet.ports, 2, &job).await;
    fleet.assert_all_done(&job).await;

    let row = fleet.ports.table.job(&job).await.unwrap().unwrap().value;
    let tree = row.tree.unwrap();
    let stores: Vec<String> =
        tree.seeds().map(|(store, from)| format!("{} <- {}", store.account, from[0].account)).collect();
    assert_eq!(
        stores,
        [
            "stage1westeurope <- goldsource",
            "stage2westeurope <- goldsource",
            "goldrelay <- goldsource",
            "stage1eastus <- goldrelay",
            "stage2eastus <- stage1eastus",
            "stage1japaneast <- goldrelay",
            "stage2japaneast <- stage1japaneast",
            "stage3japaneast <- stage1japaneast",
        ]
    );
    // Once to each region, the relay's included, and nothing more.
    let regions: Vec<&str> = status.wan_bytes.keys().map(String::as_str).collect();
    assert_eq!(regions, ["centralus", "eastus", "japaneast"]);
    let unique: u64 = fleet.chunks("goldsource", "golden").values().sum();
    assert!(status.wan_bytes.values().all(|bytes| *bytes == unique), "{:?} of {unique}", status.wan_bytes);
}
