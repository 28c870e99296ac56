//! `goldfleet plan` on a small fleet: its JSON, its picture, its refusals, and what it says once something lies in the
//! stores. And a job along a deeper tree than two regions have by themselves.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::sync::Arc;

use clap::Parser as _;
use goldfleet_config::Config;
use goldfleet_dispatcher::cli::arguments::Arguments;
use goldfleet_dispatcher::cli::output::Console;
use goldfleet_dispatcher::cli::run::run;
use goldfleet_model::tree::Tree;
use goldfleet_rates::Rates;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::regions::{self, MAX_STAR_SHARE, THIRTY};
use serde_json::{Value, json};

/// What `goldfleet plan` writes to standard output or says as its error, and its exit code.
fn plan(fleet: &InProcessFleet, version: &str, more: &[&str]) -> (u8, String) {
    told(fleet, "plan", version, more)
}

/// The same of any command for a version of the golden image.
fn told(fleet: &InProcessFleet, command: &str, version: &str, more: &[&str]) -> (u8, String) {
    let config = fleet.golden().with_file_name("goldfleet.toml").display().to_string();
    let line = ["goldfleet", "--config", &config, command, "--image", "golden", "--version", version];
    let parsed = Arguments::try_parse_from([&line[..], more].concat()).unwrap();
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console::plain(parsed.output, &mut out, &mut notes);
    match run(parsed, &mut console) {
        Ok(code) => (code, String::from_utf8(out).unwrap()),
        Err(error) => (error.exit_code(), error.to_string()),
    }
}

fn planned(fleet: &InProcessFleet, version: &str) -> Value {
    let (code, text) = plan(fleet, version, &["--output", "json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn plan_formats_and_inventory() {
    let fleet = InProcessFleet::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fleet.upload(&fleet.ports, "1")).unwrap();

    let first = planned(&fleet, "1");
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
    assert!(code == 2 && refusal.starts_with("no plan takes at most 1 s: the fastest takes"), "{refusal}");

    // Once a job has filled the region's store, a next version is planned to move what changed and nothing else.
    let job = runtime.block_on(fleet.request("1"));
    let status = runtime.block_on(fleet.run(&fleet.ports, 2, &job));
    fleet.change_golden();
    runtime.block_on(fleet.upload(&fleet.ports, "2")).unwrap();
    let next = planned(&fleet, "2");
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

/// A fleet whose plans have a relay and several stores in a region, and are to take no longer than `within`.
fn relayed(within: &str) -> InProcessFleet {
    let mut fleet = InProcessFleet::new();
    let file = |name: &str| fleet.golden().with_file_name(name);
    let mut config = std::fs::read_to_string(file("goldfleet.toml")).unwrap();
    write!(config, "\n[plan]\nrates = \"rates.toml\"\nwithin = \"{within}\"\n").unwrap();
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
    fleet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_uses_relay_and_several_stores() {
    // Nothing is that fast: the job runs all the same.
    let fleet = relayed("1s");
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

/// The stores that a job's tree fills, each with where from.
fn filled(tree: &Tree) -> Vec<(String, String)> {
    tree.seeds().map(|(store, from)| (store.to_string(), from[0].to_string())).collect()
}

/// A rehearsal goes by the plan that the job then makes: with relays, with several stores in a region, and without what
/// stores hold already; and what crosses the WAN is what was planned.
#[test]
fn rehearsal_uses_job_plan() {
    let fleet = relayed("1h");
    fleet.put_eastus_in_ring_1();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fleet.upload(&fleet.ports, "1")).unwrap();
    let rehearsed = |version: &str| -> Value {
        let (code, text) = told(&fleet, "rehearse", version, &["--output", "json"]);
        assert_eq!(code, 0, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let mut moved = Vec::new();
    for version in ["1", "2"] {
        let report = rehearsed(version);
        assert_eq!((&report["failed"], &report["whole"], &report["targets"]), (&json!(0), &json!(true), &json!(7)));
        assert!(report["times_estimate"].as_f64().unwrap() >= 1.0, "{report:#}");
        let (_, text) = told(&fleet, "rehearse", version, &[]);
        assert!(text.contains("estimate of the plan, a lower bound") && text.contains("were planned"), "{text}");
        let planned = planned(&fleet, version);
        assert_eq!(report["estimate"]["wan_bytes"], planned["estimate"]["wan_bytes"]);
        assert_eq!(report["estimate"]["seconds"], planned["estimate"]["time"]["seconds"]);

        let job = runtime.block_on(fleet.request(version));
        let status = runtime.block_on(fleet.run(&fleet.ports, 2, &job));
        let tree = runtime.block_on(fleet.ports.table.job(&job)).unwrap().unwrap().value.tree.unwrap();
        let stores = report["stores"].as_array().unwrap().iter();
        let stores: Vec<_> = stores
            .map(|store| (store["store"].as_str().unwrap().to_owned(), store["from"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(stores, filled(&tree), "version {version}");
        assert!(stores.iter().any(|(store, _)| store.starts_with("goldrelay/")), "{stores:?}");

        let links = report["links"].as_array().unwrap();
        let bytes: u64 = links.iter().map(|link| link["bytes"].as_u64().unwrap()).sum();
        assert_eq!(report["estimate"]["wan_bytes"], bytes, "version {version}");
        assert_eq!(status.wan_bytes.values().sum::<u64>(), bytes, "version {version}");
        moved.push(bytes);
        fleet.change_golden();
        runtime.block_on(fleet.upload(&fleet.ports, "2")).unwrap();
    }
    assert!(0 < moved[1] && moved[1] < moved[0] / 2, "of the second version one chunk is new: {moved:?}");
    let (code, refusal) = told(&fleet, "rehearse", "2", &[]);
    assert!(code == 2 && refusal.contains("lacks this version"), "{refusal}");
}

#[test]
fn thirty_regions_cost_less_than_star() {
    let rates = Rates::built_in().unwrap();
    for (source, at_most) in MAX_STAR_SHARE {
        let plan = regions::plan(source, &THIRTY, 1, &rates).unwrap();
        let ratio = plan.estimate.cost.egress.dollars() / plan.star.cost.egress.dollars();
        assert!(ratio <= at_most, "{source}: {ratio}");
        assert_eq!(plan.links.iter().filter(|link| link.wan).count(), 29);
        assert_eq!(plan.estimate.wan_bytes, 29 * (30 << 30));
        assert_eq!(plan, regions::plan(source, &THIRTY, 1, &rates).unwrap());
    }
}
