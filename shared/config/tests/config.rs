//! Tests of valid and invalid configurations, and of the messages about invalid ones.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goldfleet_azure_settings::{Checksum, Credential};
use goldfleet_config::{Cloud, Config, ConfigError, Coordination, HumanDuration, LogFormat, StagedPolicy};

const SOURCE: &str = r#"[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"
"#;

/// A folder that contains a configuration file.
struct Given {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Given {
    fn file(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("goldfleet.toml"), text).unwrap();
        Self { folder, variables: Vec::new() }
    }

    /// The file contains a valid `[source]`, followed by `text`.
    fn besides_source(text: &str) -> Self {
        Self::file(&format!("{SOURCE}{text}"))
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(Some(&self.path("goldfleet.toml")), self.variables.clone().into_iter())
    }

    /// The error message for an invalid configuration, without the name of the folder.
    fn refusal(&self) -> String {
        let error = self.load().expect_err("this configuration is not good");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn source_variables() -> Vec<(String, String)> {
    [("SUBSCRIPTION", "00000000-0000-0000-0000-000000000000"), ("REGION", "westeurope")]
        .into_iter()
        .chain([("ACCOUNT", "goldsource"), ("CONTAINER", "golden")])
        .map(|(key, value)| (format!("GOLDFLEET_SOURCE__{key}"), value.to_owned()))
        .collect()
}

/// Files that could be read without end, or fill the memory, are refused before they are read.
#[test]
fn unsuitable_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("goldfleet.toml");
    let refusal = || Config::load(Some(&file), std::iter::empty()).unwrap_err();
    let reason = || std::error::Error::source(&refusal()).map_or_else(|| refusal().to_string(), ToString::to_string);
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert!(reason().contains("expected a file, found a pipe"), "{}", reason());
    fs::remove_file(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(reason().contains("at most 1 MiB are read"), "{}", reason());
    fs::write(&file, [0xff, 0xfe, b'[', 0]).unwrap();
    assert!(reason().contains("not text in UTF-8"), "{}", reason());
}

#[test]
fn variable_with_many_keys_is_an_error() {
    let mut given = Given::besides_source("");
    given.variables.push((format!("GOLDFLEET_WORKER{}", "__A".repeat(40_000)), "1".to_owned()));
    let refusal = given.refusal();
    assert!(refusal.contains("worker.a") && refusal.len() < 600, "{refusal:.900}");
}

#[test]
fn all_sections_except_source_have_defaults() {
    let given = Given::besides_source("");
    let config = given.load().unwrap();
    assert_eq!(config.source.store().to_string(), "goldsource/golden (westeurope)");
    let Coordination::Embedded(embedded) = &config.coordination else { panic!("{:?}", config.coordination) };
    assert_eq!(embedded.path, given.path("goldfleet.db"));
    let Cloud::Directory(directory) = &config.cloud else { panic!("{:?}", config.cloud) };
    assert_eq!(directory.root, given.path("cloud"));
    assert_eq!(config.targets.file, given.path("targets.toml"));
    assert_eq!(config.images.name.to_string(), "{image}-{version}-{region}");
    assert_eq!(config.worker.lease.get(), Duration::from_secs(20));
    assert_eq!(config.cleanup.staged, StagedPolicy::Keep);
}

#[test]
fn rates_path_is_relative_to_configuration() {
    let given = Given::besides_source("[plan]\nrates = \"mine.toml\"\nwithin = \"30m\"\n");
    let plan = given.load().unwrap().plan;
    assert_eq!((plan.rates, plan.within), (Some(given.path("mine.toml")), Some(HumanDuration::seconds(1800))));
    let refusal = Given::besides_source("[plan]\nwithin = \"0s\"\n").refusal();
    insta::assert_snapshot!(refusal, @"goldfleet.toml:7: plan.within: 0s is out of range: use 1s to 8784h");
}

#[test]
fn config_round_trips() {
    for text in [
        "",
        "[coordination]\nbackend = \"azure\"\nqueue_endpoint = \"https://{account}.queue.core.windows.net\"\ntable_endpoint = \"https://{account}.table.core.windows.net/\"\n[cloud]\nbackend = \"azure\"\ncredential = \"azure-cli\"\nca_certificate = \"/etc/ca.pem\"\n[worker]\nlease = \"1h\"\npoll = \"1s 500ms\"",
        "[cloud]\nbackend = \"modelled\"\n[plan]\nrates = \"/etc/rates.toml\"\nwithin = \"1h\"\n[log]\nformat = \"json\"\nlevel = \"debug\"",
        "[upload.accept]\ngolden = [\"clock\", \"lvm\"]\n\"ubuntu-2?.*\" = [\"clock\"]",
    ] {
        let config = Given::besides_source(text).load().unwrap();
        let written = toml::to_string(&config).unwrap();
        let again = Given::file(&written).load().unwrap();
        // The two were read from different files.
        assert_eq!(Config { file: None, ..again }, Config { file: None, ..config }, "{written}");
    }
}

#[test]
fn all_azure_keys_parse() {
    let config = Given::besides_source(
        r#"[cloud]
backend = "azure"
resource_manager_endpoint = "https://management.azure.com"
blob_endpoint = "https://127.0.0.1:10000/{account}"
ca_certificate = "ca.pem"
credential = "managed-identity""#,
    )
    .load()
    .unwrap();
    let Cloud::Azure(azure) = &config.cloud else { panic!("{:?}", config.cloud) };
    assert_eq!(azure.credential, Credential::ManagedIdentity);
    let endpoint = azure.blob_endpoint.as_ref().unwrap();
    assert_eq!(endpoint.for_account(&"gold1".parse().unwrap()), "https://127.0.0.1:10000/gold1");
}

#[test]
fn checksum_defaults_to_crc64_except_on_emulator() {
    let checksum = |keys: &str| {
        let config = Given::besides_source(&format!("[cloud]\nbackend = \"azure\"\n{keys}")).load().unwrap();
        config.azure_cloud().unwrap().checksum()
    };
    let emulator = "blob_endpoint = \"https://127.0.0.1:10000/{account}\"\n";
    assert_eq!(checksum(""), Checksum::Crc64);
    assert_eq!(checksum("checksum = \"md5\""), Checksum::Md5);
    assert_eq!(checksum(emulator), Checksum::Md5);
    assert_eq!(checksum(&format!("{emulator}checksum = \"crc64\"")), Checksum::Crc64);
}

#[test]
fn environment_overrides_file() {
    let given = Given::besides_source("[worker]\nconcurrency = 7\nlease = \"90s\"\n")
        .variable("GOLDFLEET_WORKER__CONCURRENCY", "9")
        .variable("goldfleet_upload__Requests", "3")
        .variable("GOLDFLEET_CLEANUP__STAGED", "remove")
        .variable("GOLDFLEET_LOG__FORMAT", "json")
        .variable("GOLDFLEET_LOG", "not ours here")
        .variable("GOLDFLEET_WORKER__LEASE", "");
    let config = given.load().unwrap();
    assert_eq!((config.worker.concurrency, config.upload.requests), (9, 3));
    assert_eq!(config.worker.lease.get(), Duration::from_secs(90));
    assert_eq!(config.cleanup.staged, StagedPolicy::Remove);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn environment_selects_backend() {
    let config = Given::besides_source("[coordination]\nbackend = \"azure\"\n")
        .variable("GOLDFLEET_COORDINATION__QUEUE_ENDPOINT", "https://q.example")
        .variable("GOLDFLEET_COORDINATION__TABLE_ENDPOINT", "https://t.example")
        .variable("GOLDFLEET_CLOUD__BACKEND", "modelled")
        .load()
        .unwrap();
    assert!(matches!(config.coordination, Coordination::Azure(_)));
    assert!(matches!(config.cloud, Cloud::Modelled(_)));
}

#[test]
fn environment_path_is_relative_to_working_directory() {
    for text in ["123", "true", "1.5", "[a]", "\"quoted\"", "x = 1"] {
        let config = Given::besides_source("").variable("GOLDFLEET_COORDINATION__PATH", text).load().unwrap();
        let Coordination::Embedded(embedded) = &config.coordination else { panic!("{:?}", config.coordination) };
        assert_eq!(embedded.path, Path::new(text));
    }
}

#[test]
fn environment_alone_is_sufficient() {
    // Tests run in the folder of the package, which has no `goldfleet.toml`.
    let config = Config::load(None, source_variables().into_iter()).unwrap();
    assert_eq!(config.targets.file, Path::new("targets.toml"));
}

#[test]
fn argument_overrides_goldfleet_config_variable() {
    let given = Given::besides_source("[upload]\nrequests = 5\n");
    let other = Given::besides_source("[upload]\nrequests = 6\n");
    let variable = ("GOLDFLEET_CONFIG".to_owned(), given.path("goldfleet.toml").display().to_string());
    let config = Config::load(None, [variable.clone()].into_iter()).unwrap();
    assert_eq!(config.upload.requests, 5);
    let config = Config::load(Some(&other.path("goldfleet.toml")), [variable].into_iter()).unwrap();
    assert_eq!(config.upload.requests, 6);
}

#[test]
fn named_config_file_must_exist() {
    let variable = ("GOLDFLEET_CONFIG".to_owned(), "nowhere/goldfleet.toml".to_owned());
    let error = Config::load(None, [variable].into_iter()).unwrap_err();
    insta::assert_snapshot!(error, @"configuration file nowhere/goldfleet.toml not found: check the path in --config or GOLDFLEET_CONFIG");
    assert!(Config::load(None, std::iter::empty()).is_err(), "a source is required");
}

#[test]
fn config_file_errors() {
    let bad = [
        ("no TOML", "[worker\nlease = 1"),
        ("a key twice", "[upload]\nrequests = 1\nrequests = 2"),
        ("unknown section", "[wroker]\nlease = \"1m\""),
        ("unknown key", "[worker]\nlaese = \"1m\""),
        ("key outside a section", "lease = \"1m\""),
        ("wrong type", "[worker]\nconcurrency = \"many\""),
        ("negative", "[worker]\nconcurrency = -1"),
        ("number for text", "[worker]\nlease = 60"),
        ("time without unit", "[worker]\nlease = \"60\""),
        ("negative time", "[worker]\npoll = \"-5s\""),
        ("out of range", "[worker]\nlease = \"1s\"\nconcurrency = 0\n\n[dispatch]\nsweep = \"2 days\""),
        ("cap below base", "[worker]\nretry_base = \"10s\"\nretry_cap = \"1s\""),
        ("section is a value", "worker = 3"),
        ("unknown backend", "[cloud]\nbackend = \"aws\""),
        ("backend is no text", "[cloud]\nbackend = 1"),
        ("key of the other backend", "[coordination]\nbackend = \"embedded\"\npath = \"x\"\nprefix = \"gold\""),
        (
            "emulator's token for anyone",
            "[coordination]\nbackend = \"azure\"\nqueue_endpoint = \"https://q.example\"\ncredential = \"emulator\"",
        ),
        (
            "two identities",
            "[coordination]\nbackend = \"azure\"\ncredential = \"azure-cli\"\n[cloud]\nbackend = \"azure\"",
        ),
        ("http", "[cloud]\nbackend = \"azure\"\nresource_manager_endpoint = \"http://management.azure.com\""),
        ("secret in an endpoint", "[cloud]\nbackend = \"azure\"\nblob_endpoint = \"https://a/{account}?sig=hush\""),
        ("one endpoint for all", "[cloud]\nbackend = \"azure\"\nblob_endpoint = \"https://a.example\""),
        ("suffix with scheme", "[cloud]\nbackend = \"azure\"\nblob_suffix = \"https://blob.core.windows.net\""),
        ("log level", "[log]\nformat = \"text\"\nlevel = \"wran\""),
        ("log filter", "[log]\nlevel = \"a=b=c\""),
        ("template", "[images]\nname = \"{image}-{verison}\""),
        ("word", "[cleanup]\nstaged = \"maybe\""),
        ("accepted findings are no table", "[upload]\naccept = [\"clock\"]"),
        ("accepted findings of one image are no list", "[upload.accept]\ngolden = true"),
        (
            "an accepted finding is no text",
            "[upload.accept]\ngolden = [\n  \"clock\",\n  7,\n]\n\n[worker]\npoll = \"x\"",
        ),
        ("name with a dot", "[upload.accept]\nubuntu-24.04 = [\"clock\"]"),
        ("image pattern", "[upload.accept]\n\"web/*\" = [\"clock\"]"),
    ];
    let said: Vec<String> = bad
        .into_iter()
        .map(|(case, text)| {
            let given = if text.contains("[") {
                Given::besides_source(text)
            } else {
                Given::file(&format!("{text}\n{SOURCE}"))
            };
            format!("-- {case}\n{}", given.refusal())
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

/// A check that knows two codes.
fn known(code: &str) -> Result<(), String> {
    if ["clock", "lvm"].contains(&code) { Ok(()) } else { Err(format!("there is no code '{code}'")) }
}

#[test]
fn accepted_findings_are_those_of_all_patterns_that_match() {
    let text = "[upload.accept]\n\"*\" = [\"clock\"]\n\"ubuntu-24.04\" = [\"lvm\"]\n\"ubuntu-*\" = []\n";
    let given = Given::besides_source(text).variable("GOLDFLEET_UPLOAD__ACCEPT__GOLDEN", "lvm, clock");
    let config =
        Config::load_and_check(Some(&given.path("goldfleet.toml")), given.variables.into_iter(), &known).unwrap();
    let of = |image: &str| config.upload.accept.of(&image.parse().unwrap()).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(of("debian"), ["clock"]);
    assert_eq!(of("ubuntu-24.04"), ["clock", "lvm"]);
    assert_eq!(of("golden"), ["clock", "lvm", "clock"]);
    assert!(Given::besides_source("").load().unwrap().upload.accept.is_empty());
}

#[test]
fn unknown_accepted_codes_name_key_and_line() {
    let text = "[upload]\nrequests = 0\n[upload.accept]\ngolden = [\n  \"clock\",\n  \"cluck\",\n]\n\"ubuntu-*\" = [\"lvn\"]\n";
    let given = Given::besides_source(text).variable("GOLDFLEET_UPLOAD__ACCEPT__WEB", "clock,clack");
    // The default loader does not know the codes.
    assert!(Given::besides_source(text).refusal().lines().count() == 1);
    let file = given.path("goldfleet.toml");
    let error = Config::load_and_check(Some(&file), given.variables.into_iter(), &known).unwrap_err();
    let said = error.to_string().replace(&format!("{}/", given.folder.path().display()), "");
    insta::assert_snapshot!(said, @r"
    goldfleet.toml:7: upload.requests: 0 is out of range: use 1 to 1024
    goldfleet.toml:11: upload.accept.golden: there is no code 'cluck'
    goldfleet.toml:13: upload.accept.ubuntu-*: there is no code 'lvn'
    GOLDFLEET_UPLOAD__ACCEPT__WEB: upload.accept.web: there is no code 'clack'
    ");
}

#[test]
fn source_section_errors() {
    let bad = [
        "",
        "[source]",
        "[source]\nsubscription = \"mine\"",
        "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"West Europe\"",
        "source = \"golden\"",
    ];
    let said: Vec<String> = bad.into_iter().map(|text| Given::file(text).refusal()).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn environment_variable_errors() {
    let bad = [
        ("GOLDFLEET_WORKER__LAESE", "1m"),
        ("GOLDFLEET_WROKER__LEASE", "1m"),
        ("GOLDFLEET_WORKER__CONCURRENCY", "many"),
        ("GOLDFLEET_WORKER__CONCURRENCY", "0"),
        ("GOLDFLEET_WORKER__LEASE", "1s"),
        ("GOLDFLEET_WORKER__LEASE__MORE", "1s"),
        ("GOLDFLEET_SOURCE__REGION", "West Europe"),
        ("GOLDFLEET_CLOUD__BACKEND", "aws"),
        ("GOLDFLEET_COORDINATION__PREFIX", "gold"),
    ];
    let said: Vec<String> =
        bad.into_iter().map(|(name, value)| Given::besides_source("").variable(name, value).refusal()).collect();
    insta::assert_snapshot!(said.join("\n"));
    let alone = Config::load(None, source_variables().into_iter().skip(1)).unwrap_err();
    insta::assert_snapshot!(alone, @"goldfleet.toml: source.subscription: missing: add subscription to [source], or set GOLDFLEET_SOURCE__SUBSCRIPTION");
}

#[test]
fn all_config_errors_are_reported_together() {
    let given = Given::file(
        r#"[worker]
lease = "60"
concurrency = 0
laese = "1m"
retry_base = 1
retry_cap = "10ms"

[wroker]
poll = "1s"

[cloud]
backend = "aws"
root = 7

[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "West Europe"
contaner = "golden"
container = "golden"

[log]
level = "wran"
"#,
    )
    .variable("GOLDFLEET_UPLOAD__REQUESTS", "many")
    .variable("GOLDFLEET_DISPATCH__SWEEP", "0s");
    insta::assert_snapshot!(given.refusal(), @r#"
    goldfleet.toml:2: worker.lease: "60" is no length of time: write it with units, such as '500ms', '90s', '1h 30m' or '2 days'
    goldfleet.toml:3: worker.concurrency: 0 is out of range: use 1 to 4096
    goldfleet.toml:4: worker.laese: there is no such key; the keys are concurrency, lease, max_attempts, retry_base, retry_cap, max_retry_after, poll, chunk_requests, seed_requests, requests, detours, clone_and_patch, listen
    goldfleet.toml:5: worker.retry_base: 1 is a number, where text in quotes is expected
    goldfleet.toml:8: wroker: there is no such key; the keys are coordination, cloud, source, targets, images, worker, upload, dispatch, plan, cleanup, log, tenants, sync
    goldfleet.toml:12: cloud.backend: "aws" is not one of directory, azure, modelled
    goldfleet.toml:15: source.account: missing: add account to [source], or set GOLDFLEET_SOURCE__ACCOUNT
    goldfleet.toml:17: source.region: region "West Europe" is not valid: use the programmatic name: 2 to 40 lower-case letters and digits, such as 'westeurope'
    goldfleet.toml:18: source.contaner: there is no such key; the keys are subscription, region, account, container
    goldfleet.toml:22: log.level: "wran" is not a log filter: write a level, such as 'info', or 'warn,goldfleet_worker=debug'
    GOLDFLEET_UPLOAD__REQUESTS: upload.requests: "many" is text, where a whole number from 0 is expected
    GOLDFLEET_DISPATCH__SWEEP: dispatch.sweep: 0s is out of range: use 10ms to 1h
    "#);
}

#[test]
fn removed_key_gets_a_hint() {
    let refusal = Given::besides_source("[dispatch]\nsweep = \"10s\"\npatience = \"2m\"\n").refusal();
    let hint = "dispatch.patience: this key was removed";
    assert!(refusal.contains(hint) && refusal.contains("delete it") && refusal.lines().count() == 1, "{refusal}");
    let variable = Given::besides_source("").variable("GOLDFLEET_DISPATCH__PATIENCE", "2m").refusal();
    assert!(variable.contains(hint), "{variable}");
}

#[test]
fn unparsed_key_is_not_range_checked() {
    let cap = Given::besides_source("[worker]\nretry_base = \"10m\"\nretry_cap = \"5\"\n").refusal();
    assert_eq!(cap.lines().count(), 1, "{cap}");
    let base = Given::besides_source("[worker]\nretry_base = \"5\"\nretry_cap = \"10ms\"\n").refusal();
    assert_eq!(base.lines().count(), 1, "{base}");
    let source = Given::file("[source]\n[worker]\nbackend = 1\nlaese = 2\n").refusal();
    assert_eq!(source.lines().count(), 6, "{source}");
}

/// The TOML blocks of a documentation page.
fn documented(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn documented_defaults_are_correct() {
    let pages = documented(include_str!("../../../docs/configuration.md"));
    let read = |text: &str| {
        let given = Given::file(text);
        let written = toml::to_string(&given.load().unwrap()).unwrap();
        written.replace(&given.folder.path().display().to_string(), "")
    };
    assert_eq!(read(pages[0]), read(SOURCE));
    assert!(Given::file(pages[1]).load().is_ok());
    let targets = documented(include_str!("../../../docs/targets.md"));
    let given = Given::file(targets[0]);
    let file = goldfleet_config::targets::TargetsFile::load(&given.path("goldfleet.toml")).unwrap();
    assert_eq!((file.targets.len(), file.stores.len()), (1, 1));
}

#[test]
fn tenants_of_subscriptions_are_read() {
    let text = "[tenants]\n\"00000000-0000-0000-0000-000000000002\" = \"Contoso.com\"\n";
    let config = Given::besides_source(text).load().unwrap();
    let id = goldfleet_model::ids::SubscriptionId::nth_for_tests;
    assert_eq!(config.tenants.of(&id(2)).map(ToString::to_string).as_deref(), Some("contoso.com"));
    assert!(config.tenants.differ(&id(1), &id(2)) && config.tenants.of(&id(1)).is_none());
    for (bad, expected) in [
        ("[tenants]\n\"00000000-0000-0000-0000-000000000002\" = \"contoso\"\n", "use its id or its domain"),
        ("[tenants]\nproduction = \"contoso.com\"\n", "use the subscription's id"),
    ] {
        let error = Given::besides_source(bad).load().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("tenants"), "{error}");
    }
}

const SYNC: &str = r#"
[[sync]]
name = "citrix"
from = { subscription = "00000000-0000-0000-0000-000000000001", resource_group = "snaps" }
tags = { SnapReplicate = "Replicate" }
to = [{ subscription = "00000000-0000-0000-0000-000000000002", region = "eastus", resource_group = "replicas" }]
"#;

#[test]
fn sync_has_safe_defaults() {
    let config = Given::besides_source(SYNC).load().unwrap();
    let [sync] = &config.sync[..] else { panic!("{:?}", config.sync) };
    assert_eq!((sync.max_deletes, sync.grace, sync.every), (5, HumanDuration::seconds(86_400), None));
    let rules = sync.rules(uuid::Uuid::nil(), &config.tenants).unwrap();
    assert_eq!(rules.delete, goldfleet_snapshots::rules::DeletePolicy::Never);
    assert_eq!(rules.destinations[0].region.as_str(), "eastus");
    assert!(rules.check().is_empty() && !rules.lock);
}

#[test]
fn sync_errors_name_file_line_and_key() {
    let all = format!(
        "{SYNC}{}{}{}",
        SYNC.replace("tags =", "names = [\"[\"]\ndelete = \"sometimes\"\nkept = 1\ntags ="),
        SYNC.replace("name = \"citrix\"", "name = \"a b\"\nkeep = 2\nevery = \"1s\"")
            .replace("tags =", "exclude_tags ="),
        SYNC.replace("name = \"citrix\"\n", "name = \"other\"\nkeep = 2\n").replace("replicas", "replicas\u{20}x"),
    );
    insta::assert_snapshot!(Given::besides_source(&all).refusal());
    let twice = SYNC.replace("]\n\"#", "");
    let twice = twice.replace("name = \"citrix\"", "name = \"twice\"\nkeep = 2").replace(
        "to = [{",
        "to = [{ subscription = \"00000000-0000-0000-0000-000000000001\", region = \"westus\", resource_group = \"SNAPS\" }, {",
    );
    insta::assert_snapshot!(Given::besides_source(&twice).refusal());
    insta::assert_snapshot!(Given::besides_source(SYNC).variable("GOLDFLEET_SYNC__NAME", "x").refusal());
}

/// A missing key of a sync has no variable, and all faults of a sync are reported.
#[test]
fn missing_keys_of_syncs_are_named_without_variables() {
    let text = format!(
        "{SYNC}{}",
        r#"
[[sync]]
from = { resource_group = "snaps" }
tags = 7
names = ["a", 8]
to = [{ subscription = "00000000-0000-0000-0000-000000000002", region = "eastus" }, { region = 1, resource_group = "r" }]
delete = "sometimes"
grace = "7 moons"

[[sync]]
name = "third"
tags = { a = "b" }
scratch = { subscription = "x" }
"#
    );
    insta::assert_snapshot!(Given::besides_source(&text).refusal());
}

#[test]
fn image_tags_that_azure_or_goldfleet_does_not_permit_are_rejected() {
    let errors =
        |tags: &str| Given::besides_source(&format!("[images]\ntags = {tags}\n")).load().map_err(|e| e.to_string());
    let config = errors("{ owner = \"platform\", \"cost centre\" = \"7\" }").unwrap();
    assert_eq!(config.images.tags.len(), 2);
    let long = "x".repeat(257);
    for (tags, part) in [
        ("{ Goldfleet-Digest = \"b3:0\" }", "begin with goldfleet-"),
        ("{ \"a/b\" = \"\" }", "none of the characters"),
        ("{ a = \"1\", A = \"2\" }", "case is not significant"),
        (format!("{{ a = \"{long}\" }}").as_str(), "at most 256"),
    ] {
        let error = errors(tags).unwrap_err();
        assert!(error.contains("images.tags") && error.contains(part), "{error}");
    }
}

#[test]
fn sync_cannot_have_the_name_of_copies() {
    let error = Given::besides_source(&SYNC.replace("citrix", "Copy")).load().unwrap_err().to_string();
    assert!(error.contains("snapshots copy"), "{error}");
}
