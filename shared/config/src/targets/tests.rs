//! Tests of valid and invalid targets files, of the messages about invalid ones, and of changes that preserve the rest
//! of the file.

mod galleries;

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const FILE: &str = r#"# The fleet, as of 2026. Ask Ada before changing ring 0.

[[store]] # by hand, since it is bigger
region = "eastus"
account = "goldeastus"
container = "golden"

# --- canaries
[[target]]
region = "westeurope" # region first, for once
subscription = "00000000-0000-0000-0000-000000000001"
resource_group = "images"
account = "stage0001"
container = "vhds"
enabled   = true   # do not touch
tags = { env = 'prod' } # single quotes

# --- the rest
[[target]]
subscription = "00000000-0000-0000-0000-000000000002"
region = "eastus"
resource_group = "images"
account = "stage0002"
container = "vhds"
ring = 1

[target.tags]
env = "dev"
# the end
"#;

const CSV: &str = "subscription,region,resource_group,account,container";

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn target(number: u32, region: &str, account: &str) -> Target {
    serde_json::from_value(serde_json::json!({
        "subscription": format!("00000000-0000-0000-0000-{number:012}"), "region": region,
        "resource_group": "images", "account": account, "container": "vhds",
    }))
    .unwrap()
}

#[test]
fn sinks_are_read_written_and_imported() {
    use goldfleet_model::sink::Sinks;
    let sinks =
        |names: &[&str]| Sinks::try_from(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let (_folder, path) = file(&FILE.replace("ring = 1\n", "ring = 1\nsinks = [\"disk\", \"image\"] # both\n"));
    let read = TargetsFile::load(&path).unwrap();
    assert_eq!([&read.targets[0].sinks, &read.targets[1].sinks], [&Sinks::default(), &sinks(&["image", "disk"])]);

    let csv =
        format!("{CSV},sinks\n{0},westeurope,images,stage0001,vhds,image;snapshot\n", read.targets[0].subscription);
    let imported = import(Path::new("t.csv"), &csv, Format::Csv).unwrap();
    assert_eq!(imported[0].value().sinks, sinks(&["image", "snapshot"]));
    let json = serde_json::to_string(&read.targets).unwrap();
    let imported = import(Path::new("t.json"), &json, Format::Json).unwrap();
    assert_eq!(imported.iter().map(Located::value).collect::<Vec<_>>(), read.targets.iter().collect::<Vec<_>>());

    let changed = Target { sinks: sinks(&["snapshot"]), ..read.targets[0].clone() };
    let reset = Target { sinks: Sinks::default(), ..read.targets[1].clone() };
    let mut document = TargetsDocument::open(&path).unwrap();
    document.merge(vec![given(changed.clone()), given(reset.clone())], OnDuplicate::Replace).unwrap();
    document.save().unwrap();
    assert_eq!(TargetsFile::load(&path).unwrap().targets, [changed, reset]);
    assert!(fs::read_to_string(&path).unwrap().contains("sinks = [\"snapshot\"]"));
}

#[test]
fn invalid_sinks_and_hubs_are_named_with_their_line() {
    let error = |text: &str| {
        let (_folder, path) = file(text);
        TargetsFile::load(&path).unwrap_err().to_string()
    };
    for (sinks, reason) in [
        ("[]", "it is empty"),
        ("[\"image\", \"image\"]", "it names image twice"),
        ("[\"vhd\"]", "use image, snapshot or disk"),
    ] {
        let error = error(&FILE.replace("ring = 1\n", &format!("sinks = {sinks}\n")));
        assert!(error.contains(reason) && error.contains("sinks"), "{error}");
    }
    let with = |lines: &str| FILE.replace("container = \"golden\"\n", &format!("container = \"golden\"\n{lines}\n"));
    let subscription = "subscription = \"00000000-0000-0000-0000-000000000001\"";
    assert!(error(&with(subscription)).contains("needs resource_group"));
    assert!(error(&with("resource_group = \"golden\"")).contains("needs subscription"));
    let hub = format!("{subscription}\nresource_group = \"golden\"");
    let (_folder, path) = file(&with(&hub));
    let read = TargetsFile::load(&path).unwrap();
    assert_eq!(read.hubs[&"eastus".parse().unwrap()].group.resource_group.as_str(), "golden");
    let second =
        format!("{}\n[[store]]\nregion = \"eastus\"\naccount = \"other\"\ncontainer = \"golden\"\n{hub}\n", with(&hub));
    assert!(error(&second).contains("eastus has a hub already"));
}

fn given(target: Target) -> Located<Target> {
    Located::given("given", target)
}

fn selectors(texts: &[&str]) -> Vec<Selector> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The error message for a targets file with this text.
fn refusal(text: &str) -> String {
    Contents::read(Path::new("targets.toml"), text).expect_err(text).to_string()
}

/// A target of the first subscription, followed by `more`.
fn table(region: &str, account: &str, more: &str) -> String {
    format!(
        "[[target]]\nsubscription = \"00000000-0000-0000-0000-000000000001\"\nregion = \"{region}\"\n\
         resource_group = \"images\"\naccount = \"{account}\"\ncontainer = \"vhds\"\n{more}\n"
    )
}

#[test]
fn targets_file_parses() {
    let (_folder, path) = file(FILE);
    let file = TargetsFile::load(&path).unwrap();
    assert_eq!(file.targets.len(), 2);
    assert_eq!((file.targets[0].ring, file.targets[0].enabled), (0, true));
    assert_eq!(file.targets[1].tags["env"], "dev");
    let stores = file.stores_by_region();
    assert_eq!(stores.values().flatten().map(Store::to_string).collect::<Vec<_>>(), ["goldeastus/golden (eastus)"]);
    assert_eq!(file.selected(&[]).len(), 2);
    assert_eq!(file.selected(&selectors(&["ring=1", "nowhere"])).len(), 1);
}

#[test]
fn empty_targets_file_is_valid() {
    let (_folder, path) = file("# nothing yet\n");
    assert_eq!(TargetsFile::load(&path).unwrap(), TargetsFile::default());
}

#[test]
fn disabled_target_is_not_selected() {
    let (_folder, path) = file(FILE);
    let mut document = TargetsDocument::open(&path).unwrap();
    document.set_enabled(&selectors(&["westeurope"]), false).unwrap();
    assert!(document.file().selected(&selectors(&["westeurope"])).is_empty());
}

#[test]
fn config_file_errors() {
    let good = table("westeurope", "stage0001", "");
    let store = |region: &str, account: &str| {
        format!("[[store]]\nregion = \"{region}\"\naccount = \"{account}\"\ncontainer = \"golden\"\n")
    };
    let bad = [
        ("no TOML", "[[target]".to_owned()),
        ("single brackets", "[target]\nregion = \"westeurope\"\n".to_owned()),
        ("unknown table", format!("{good}[[targets]]\n")),
        ("nothing in it", format!("{good}[[target]]\n")),
        ("unknown key", table("westeurope", "stage0001", "rings = 1")),
        ("wrong types", table("westeurope", "stage0001", "ring = \"first\"") + &table("eastus", "a01", "tags = \"x\"")),
        ("bad names", table("West Europe", "stage0001", "") + &table("eastus", "Stage_1", "")),
        ("twice", table("westeurope", "stage0001", "") + "\n" + &table("westeurope", "stage0002", "")),
        ("account in two regions", good.clone() + &table("eastus", "stage0001", "")),
        ("one account, two stores", store("eastus", "gold1") + &store("eastus", "gold1")),
        ("store elsewhere", good.clone() + &store("eastus", "stage0001")),
        ("store with more", store("eastus", "gold1") + "ring = 1\n"),
        ("encryption set", table("westeurope", "stage0001", "disk_encryption_set = \"des\"\ntenant = \"a b\"")),
    ];
    let said: Vec<String> = bad.iter().map(|(case, text)| format!("-- {case}\n{}", refusal(text))).collect();
    insta::assert_snapshot!(said.join("\n"));
    let missing = TargetsFile::load(Path::new("nowhere/targets.toml")).unwrap_err();
    insta::assert_snapshot!(missing, @"there is no targets file nowhere/targets.toml: make one with 'goldfleet targets add', 'import' or 'generate', or set [targets] file");
}

#[test]
fn set_enabled_changes_only_selected_targets() {
    let (_folder, path) = file(FILE);
    let mut document = TargetsDocument::open(&path).unwrap();
    let switched = document.set_enabled(&[], false).unwrap();
    assert_eq!((switched.changed.len(), switched.unchanged.len()), (2, 0));
    document.save().unwrap();
    let written = fs::read_to_string(&path).unwrap();
    insta::assert_snapshot!(written);
    // The reverse change restores the file, except for the key that it did not contain before.
    let mut document = TargetsDocument::open(&path).unwrap();
    document.set_enabled(&selectors(&["*"]), true).unwrap();
    document.save().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().replace("ring = 1\nenabled = true\n", "ring = 1\n"), FILE);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left in the folder");
}

#[test]
fn unmatched_selector_changes_nothing() {
    let (_folder, path) = file(FILE);
    let mut document = TargetsDocument::open(&path).unwrap();
    let error = document.set_enabled(&selectors(&["westeurope", "ring=7", "mars"]), false).unwrap_err();
    insta::assert_snapshot!(error);
    assert!(document.file().targets.iter().all(|target| target.enabled));
}

#[test]
fn merge_keeps_or_replaces_duplicates() {
    let (_folder, path) = file(FILE);
    let unchanged = TargetsFile::load(&path).unwrap().targets.remove(0);
    let otherwise = Target { ring: 5, tags: BTreeMap::new(), ..target(2, "eastus", "stage0002") };
    let incoming = || [unchanged.clone(), otherwise.clone(), target(3, "eastus", "stage0003")].map(given).into();

    let mut document = TargetsDocument::open(&path).unwrap();
    let merged = document.merge(incoming(), OnDuplicate::Keep).unwrap();
    assert_eq!([&merged.added, &merged.unchanged, &merged.replaced, &merged.kept].map(Vec::len), [1, 1, 0, 1]);
    assert_eq!(document.file().targets[1].ring, 1);

    let mut document = TargetsDocument::open(&path).unwrap();
    let merged = document.merge(incoming(), OnDuplicate::Replace).unwrap();
    assert_eq!([&merged.added, &merged.unchanged, &merged.replaced, &merged.kept].map(Vec::len), [1, 1, 1, 0]);
    document.save().unwrap();
    insta::assert_snapshot!(fs::read_to_string(&path).unwrap());
    assert_eq!(TargetsFile::load(&path).unwrap(), document.file());
    let tagged = Target { tags: BTreeMap::from([("env".to_owned(), "qa".to_owned())]), ..otherwise.clone() };
    let (_folder, path) = file(FILE);
    let mut document = TargetsDocument::open(&path).unwrap();
    document.merge(vec![given(tagged)], OnDuplicate::Replace).unwrap();
    document.save().unwrap();
    assert_eq!(TargetsFile::load(&path).unwrap(), document.file(), "a table of tags becomes one in braces");
    document.merge(incoming(), OnDuplicate::Replace).unwrap();
    document.save().unwrap();
    let again = TargetsDocument::open(&path).unwrap().merge(incoming(), OnDuplicate::Replace).unwrap();
    assert_eq!(again.unchanged.len(), 3);
}

#[test]
fn merge_creates_file_and_accepts_any_toml_style() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    for text in [
        "",
        "# just a comment\n",
        "target = []\n",
        "target = [{ subscription = \"00000000-0000-0000-0000-000000000001\", region = \"eastus\", resource_group = \"i\", account = \"abc\", container = \"vhds\" }]\n",
    ] {
        fs::write(&path, text).unwrap();
        let mut document = TargetsDocument::open(&path).unwrap();
        let tags = BTreeMap::from([("env".to_owned(), "a \"b\"".to_owned())]);
        let new = Target { tags, tenant: Some("contoso.com".to_owned()), ..target(9, "eastus", "stage0009") };
        document.merge(vec![given(new), given(target(8, "westus", "stage0008"))], OnDuplicate::Keep).unwrap();
        document.save().unwrap();
        assert_eq!(TargetsFile::load(&path).unwrap(), document.file(), "{text}");
        let remarks = fs::read_to_string(&path).unwrap().matches("# just a comment\n\n[[target]]").count();
        assert_eq!(remarks, text.matches("# just").count(), "remarks stay in front");
    }
    fs::remove_file(&path).unwrap();
    let mut document = TargetsDocument::open(&path).unwrap();
    document.merge(vec![given(target(9, "eastus", "stage0009"))], OnDuplicate::Keep).unwrap();
    document.save().unwrap();
    insta::assert_snapshot!(fs::read_to_string(&path).unwrap());
}

#[test]
fn conflicting_targets_are_not_merged() {
    let (_folder, path) = file(FILE);
    let mut document = TargetsDocument::open(&path).unwrap();
    let twice = vec![given(target(3, "eastus", "stage0003")), given(target(3, "eastus", "stage0003"))];
    insta::assert_snapshot!(document.merge(twice, OnDuplicate::Replace).unwrap_err(), @"given: region: the target 00000000-0000-0000-0000-000000000003/eastus is there already, at given: remove one");
    let taken = vec![given(target(3, "eastus", "stage0001"))];
    let error = document.merge(taken, OnDuplicate::Keep).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(&path.display().to_string(), "targets.toml"), @"given: account: stage0001 is in 00000000-0000-0000-0000-000000000001/westeurope according to targets.toml:9, and an account is in one subscription and region only: name another account");
    document.save().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE);
}

/// Of forty concurrent changes, none is lost.
#[test]
fn changes_at_the_same_time_are_all_written() {
    let (_folder, path) = file(FILE);
    let barrier = std::sync::Barrier::new(40);
    std::thread::scope(|scope| {
        for number in 10..50 {
            let (path, barrier) = (&path, &barrier);
            scope.spawn(move || {
                let new = vec![given(target(number, "eastus", &format!("stage{number:04}")))];
                barrier.wait();
                TargetsDocument::edit(path, |document| document.merge(new, OnDuplicate::Keep)).unwrap();
            });
        }
    });
    assert_eq!(TargetsFile::load(&path).unwrap().targets.len(), 42);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left in the folder");
}

/// An editor does not use the lock. A file that it has saved is not overwritten.
#[test]
fn a_file_that_was_changed_since_it_was_read_is_left_alone() {
    let (_folder, path) = file(FILE);
    let mut document = TargetsDocument::open(&path).unwrap();
    document.set_enabled(&[], false).unwrap();
    let edited = format!("{FILE}# and a remark\n");
    fs::write(&path, &edited).unwrap();
    let error = document.save().unwrap_err();
    assert!(matches!(error, TargetsFileError::Changed(_)), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), edited);

    fs::remove_file(&path).unwrap();
    assert!(matches!(document.save().unwrap_err(), TargetsFileError::Changed(_)), "removed is changed as well");
    assert!(!path.exists());
}

/// After a change that fails, the file is unchanged and the lock is free.
#[test]
fn a_change_that_fails_changes_nothing() {
    let (_folder, path) = file(FILE);
    for _ in 0..2 {
        let failed = TargetsDocument::edit(&path, |document| document.set_enabled(&selectors(&["mars"]), false));
        assert!(matches!(failed.unwrap_err(), TargetsFileError::NothingMatches(_)));
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE);
}

/// A symbolic link and its target are locked as one file.
#[test]
fn changes_through_a_link_wait_for_each_other() {
    let (folder, path) = file(FILE);
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    std::thread::scope(|scope| {
        for number in 10..30 {
            let path = if number % 2 == 0 { &path } else { &link };
            let new = vec![given(target(number, "eastus", &format!("stage{number:04}")))];
            scope
                .spawn(move || TargetsDocument::edit(path, |document| document.merge(new, OnDuplicate::Keep)).unwrap());
        }
    });
    assert!(link.is_symlink());
    assert_eq!(TargetsFile::load(&path).unwrap().targets.len(), 22);
}

#[test]
fn merging_thousands_of_targets_is_linear() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    let generate = Generate {
        subscriptions: (1..=500).map(SubscriptionId::nth_for_tests).collect(),
        regions: (0..18).map(|number| format!("region{number}").parse().unwrap()).collect(),
        prefix: "stage".parse().unwrap(),
        resource_group: "images".parse().unwrap(),
        container: "vhds".parse().unwrap(),
        ring: 0,
        names: BTreeMap::new(),
    };
    let begin = std::time::Instant::now();
    for expected in [[9000, 0], [0, 9000]] {
        let mut document = TargetsDocument::open(&path).unwrap();
        let merged = document.merge(generate.targets(&document.file()).unwrap(), OnDuplicate::Keep).unwrap();
        assert_eq!([merged.added.len(), merged.unchanged.len()], expected);
        document.save().unwrap();
    }
    // It takes a second or two without optimisation. An implementation in quadratic time takes minutes.
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
}

#[test]
fn csv_import() {
    let text = format!(
        "\u{feff}{CSV},ring,enabled,tags,tag.owner,tenant\n\
         00000000-0000-0000-0000-000000000001,westeurope, images ,stage1,vhds,2,FALSE,env=prod;team=x,ada,\n\
         00000000-0000-0000-0000-000000000002,eastus,\"images\",stage2,vhds,,,,,contoso.com\n"
    );
    let targets = import(Path::new("fleet.csv"), &text, Format::Csv).unwrap();
    let first = targets[0].value();
    assert_eq!((first.ring, first.enabled, first.resource_group.as_str()), (2, false, "images"));
    let tags: Vec<_> = first.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(tags, ["env=prod", "owner=ada", "team=x"]);
    let expected = Target { tenant: Some("contoso.com".to_owned()), ..target(2, "eastus", "stage2") };
    assert_eq!(targets[1].value(), &expected);
}

#[test]
fn json_list_output_can_be_imported() {
    let (_folder, path) = file(FILE);
    let targets = TargetsFile::load(&path).unwrap().targets;
    let text = serde_json::to_string(&targets).unwrap();
    let imported = import(Path::new("fleet.json"), &text, Format::Json).unwrap();
    assert_eq!(imported.into_iter().map(Located::into_value).collect::<Vec<_>>(), targets);
}

#[test]
fn import_errors() {
    let row = "00000000-0000-0000-0000-000000000001,westeurope,images,stage1,vhds";
    let bad = [
        ("no header", String::new()),
        ("other columns", "subscription,region,region,resource-group,account,tag.\n".to_owned()),
        (
            "every bad row",
            format!("{CSV},ring\n{row},1\nmine,westeurope,images,stage2,vhds,\n{row},first\n{row},-1\n,,,,,\n{row}\n"),
        ),
        ("tags", format!("{CSV},tags\n{row},prod\n")),
        ("truth", format!("{CSV},enabled\n{row},perhaps\n")),
    ];
    let mut said: Vec<String> = bad
        .iter()
        .map(|(case, text)| {
            let error = import(Path::new("fleet.csv"), text, Format::Csv).expect_err(case);
            format!("-- {case}\n{error}")
        })
        .collect();
    let bad = [
        ("no JSON", "[{]"),
        ("no list", "{}"),
        ("every bad item", r#"[{"region": "eastus", "ring": null}, 3, null, {"subscription": 1}, {"colour": "red"}]"#),
    ];
    said.extend(bad.iter().map(|(case, text)| {
        let error = import(Path::new("fleet.json"), text, Format::Json).expect_err(case);
        format!("-- {case}\n{error}")
    }));
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(Format::of(Path::new("a/fleet.CSV")), Some(Format::Csv));
    assert_eq!(Format::of(Path::new("fleet.xlsx")), None);
}

/// A file of 2,000 targets, and a store at the end.
fn large_file(replaced: usize, table: &str) -> String {
    let mut text = String::from("\u{feff}# a large fleet\n\n");
    for number in 0..2000 {
        if number == replaced {
            text += table;
            continue;
        }
        text += &format!(
            "[[target]]\nsubscription = \"00000000-0000-0000-0000-{number:012}\"\nregion = \"westeurope\"\n\
             resource_group = \"images\"\naccount = \"stage{number}\"\ncontainer = \"vhds\"\n[target.tags]\nn = \"{number}\"\n"
        );
    }
    text + "[[store]]\nregion = \"eastus\"\naccount = \"gold1\"\ncontainer = \"golden\"\n"
}

#[test]
fn large_file_is_read_in_blocks() {
    let text = large_file(usize::MAX, "");
    let blocks = blocks::blocks(&text).unwrap();
    assert!(blocks.len() > 4, "{}", blocks.len());
    assert!(blocks.iter().all(|block| block.text.starts_with("[[")));
    let in_blocks = Tables::read_blocks(Path::new("targets.toml"), &text).unwrap();
    let whole = Tables::read(Path::new("targets.toml"), &text).unwrap();
    let shown = |tables: &Tables| tables.targets.iter().map(|target| format!("{target:?}")).collect::<Vec<_>>();
    assert_eq!(shown(&in_blocks), shown(&whole));
    assert_eq!((in_blocks.targets.len(), in_blocks.stores.len()), (2000, 1));
}

#[test]
fn faults_of_a_large_file_have_their_lines() {
    let twice = "[[target]]\nsubscription = \"00000000-0000-0000-0000-000000000007\"\nregion = \"westeurope\"\n\
                 resource_group = \"images\"\naccount = \"stage1500\"\ncontainer = \"vhds\"\n";
    let line = 3 + 8 * 1500;
    let refused = refusal(&large_file(1500, twice));
    assert!(refused.contains(&format!("targets.toml:{line}")) && refused.contains("targets.toml:59"), "{refused}");
    let refused = refusal(&large_file(1500, "[[target]]\nregion = 1\n[tagret]\n[[target]]\nregion = \"x y\"\n"));
    for line in [line + 1, line + 2, line + 4] {
        assert!(refused.contains(&format!("targets.toml:{line}")), "{line}: {refused}");
    }
}

/// A line that looks like a header, inside of a value, at every position where a block could begin.
#[test]
fn header_inside_of_a_value_is_no_table() {
    for replaced in [300, 500, 1000, 1999] {
        let tag = "\n[[target]]\n".repeat(6000);
        let table = format!(
            "[[target]]\nsubscription = \"00000000-0000-0000-0000-{replaced:012}\"\nregion = \"westeurope\"\n\
             resource_group = \"images\"\naccount = \"stage{replaced}\"\ncontainer = \"vhds\"\ntags.note = \"\"\"{tag}\"\"\"\n"
        );
        let contents = Contents::read(Path::new("targets.toml"), &large_file(replaced, &table)).unwrap();
        assert_eq!(contents.targets.len(), 2000);
        assert_eq!(contents.targets[replaced].value().tags["note"].len(), tag.len() - 1);
    }
}
