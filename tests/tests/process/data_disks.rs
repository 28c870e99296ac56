//! The command line with data disks: what is refused, what is uploaded, and what is shown.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::FileExt as _;

use goldfleet_disk::{AzureDisk, GoldenSpec, OpenOptions, open, same_disk};
use goldfleet_model::manifest::Generation;
use goldfleet_tests::process_fixture::{self, ProcessFixture};

const MIB: u64 = 1 << 20;

/// Two targets, a golden VHD, a VHD for a data disk, and a raw disk that nothing identifies.
fn fixture() -> ProcessFixture {
    let targets = process_fixture::targets(1, &["westeurope", "eastus"]);
    let config = format!("{}[images]\ndata_disk_caching = \"ReadOnly\"\n", process_fixture::SOURCE);
    let fixture = ProcessFixture::new(&config, &targets, &process_fixture::golden());
    GoldenSpec::spread(32 * MIB, Generation::V1, MIB, 4, 5).write(&fixture.path("data.vhd")).unwrap();
    let raw = std::fs::File::create_new(fixture.path("raw.img")).unwrap();
    raw.set_len(20 * MIB).unwrap();
    raw.write_all_at(&[7; 4096], 5 * MIB).unwrap();
    std::fs::hard_link(fixture.path("data.vhd"), fixture.path("other.vhd")).unwrap();
    std::os::unix::fs::symlink("golden.vhd", fixture.path("link.vhd")).unwrap();
    fixture
}

/// The exit code, and what the command printed.
fn run(fixture: &ProcessFixture, arguments: &[&str]) -> (Option<i32>, String) {
    let output = fixture.run(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn disks_that_cannot_be_used_together_are_refused_before_anything_is_sent() {
    let fixture = fixture();
    std::fs::write(fixture.path("small.img"), vec![0; 4096]).unwrap();
    for (more, says) in [
        (&["--data", "0=data.vhd", "--data", "0=raw:raw.img"][..], "both have LUN 0"),
        (&["--data", "64=data.vhd"], "LUN from 0 to 63"),
        (&["--data", "data.vhd"], "expected LUN=FILE"),
        (&["--data", "0=data.vhd", "--data", "1=./data.vhd"], "the file is also the disk with LUN 0"),
        (&["--data", "0=link.vhd"], "the file is also the OS disk"),
        (&["--data", "0=missing.vhd"], "missing.vhd"),
        (&["--data", "0=raw.img"], "unknown-format"),
        (&["--data", "0=raw:small.img"], "small.img cannot be used as a data disk"),
        (&["--from", "disk:/x", "--data", "0=data.vhd"], "cannot be used with"),
    ] {
        let mut upload = fixture.upload(more);
        if more.contains(&"--from") {
            upload.remove(1);
        }
        let (code, text) = run(&fixture, &upload);
        assert_eq!(code, Some(2), "{more:?}: {text}");
        assert!(text.contains(says), "{more:?}: {text}");
    }
    assert!(!fixture.path("cloud/goldsource").exists(), "nothing was sent");
}

#[test]
fn check_reports_each_disk() {
    let fixture = fixture();
    let (code, text) = run(&fixture, &["check", "golden.vhd", "--data", "3=data.vhd", "--data", "1=raw:raw.img"]);
    assert_eq!(code, Some(0), "{text}");
    let verdicts: Vec<&str> = text.lines().filter(|line| line.contains("can be used")).collect();
    assert!(verdicts[0].starts_with("golden.vhd: can be used as an OS disk, 24.00 MiB"), "{verdicts:?}");
    assert_eq!(
        verdicts[1..],
        ["raw.img: can be used as a data disk, 20.00 MiB", "data.vhd: can be used as a data disk, 32.00 MiB"]
    );
    let report = fixture.json(&["check", "golden.vhd", "--data", "3=data.vhd"]);
    assert_eq!((&report["data_disks"][0]["lun"], &report["data_disks"][0]["format"]), (&3.into(), &"fixed-vhd".into()));
    let (code, text) = run(&fixture, &["check", "golden.vhd", "data.vhd", "--data", "3=raw:raw.img"]);
    assert_eq!((code, text.contains("--data is for one image")), (Some(2), true), "{text}");
}

#[test]
fn all_disks_are_uploaded_shown_and_verified() {
    let fixture = fixture();
    let upload = fixture.upload(&["--data", "1=raw:raw.img", "--data", "3=data.vhd", "--wait"]);
    let (code, text) = run(&fixture, &upload);
    assert_eq!(code, Some(0), "{text}");
    for shown in ["data-1", "data-3", "2/2"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    fixture.assert_succeeded_once_each(&[("copy", 6), ("image", 2)]);
    let status = fixture.json(&["status"]);
    let disks: Vec<_> = status["disks"].as_array().unwrap().iter().map(|disk| disk["disk"].as_str().unwrap()).collect();
    assert_eq!(disks, ["os", "data-1", "data-3"]);
    let raw = OpenOptions { format: Some("raw".parse().unwrap()), ..OpenOptions::default() };
    let files = [
        ("golden.vhd", "", OpenOptions::default()),
        ("raw.img", "__data-1", raw),
        ("data.vhd", "__data-3", OpenOptions::default()),
    ];
    for (file, suffix, options) in files {
        let golden = AzureDisk::new(&open(&fixture.path(file), &options).unwrap(), false).unwrap();
        for account in ["stage1westeurope", "stage1eastus"] {
            let vhd = fixture.path(&format!("cloud/{account}/vhds/golden/1{suffix}.vhd"));
            assert_eq!(same_disk(&golden, &vhd).unwrap(), None, "{}", vhd.display());
        }
    }
    let image = "cloud/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/images";
    let image = std::fs::read_dir(fixture.path(image)).unwrap().map(|entry| entry.unwrap().path());
    let image = image.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "json")).unwrap();
    let image: serde_json::Value = serde_json::from_slice(&std::fs::read(image).unwrap()).unwrap();
    let data = image["properties"]["storageProfile"]["dataDisks"].as_array().unwrap();
    let found: Vec<_> = data.iter().map(|disk| (disk["lun"].as_u64(), disk["caching"].as_str())).collect();
    assert_eq!(found, [(Some(1), Some("ReadOnly")), (Some(3), Some("ReadOnly"))]);
    let (code, text) = run(&fixture, &["verify", "--read"]);
    assert_eq!(code, Some(0), "{text}");
    let again = fixture.json(&fixture.upload(&["--data", "1=raw:raw.img", "--data", "3=data.vhd", "--no-dispatch"]));
    assert_eq!((&again["already_there"], &again["bytes_sent"]), (&true.into(), &0.into()), "{again:#}");
    let listed = fixture.json(&["images"]);
    assert_eq!(listed["images"][0]["disks"].as_array().unwrap().len(), 3);
}
