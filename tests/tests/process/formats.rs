//! Disk images of all formats, from the file to every target.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use goldfleet_disk::{AzureDisk, GoldenSpec, same_disk};
use goldfleet_model::manifest::Generation;
use goldfleet_tests::process_fixture::{self, ProcessFixture};

const MIB: u64 = 1 << 20;

/// Two targets, and a raw disk of 64 MiB.
fn fixture() -> ProcessFixture {
    let golden = GoldenSpec::spread(64 * MIB, Generation::V2, 3 * MIB, 5, 11);
    let fixture =
        ProcessFixture::new(process_fixture::SOURCE, &process_fixture::targets(1, &["westeurope", "eastus"]), &golden);
    std::fs::copy(fixture.path("golden.vhd"), fixture.path("golden.raw")).unwrap();
    let raw = std::fs::File::options().write(true).open(fixture.path("golden.raw")).unwrap();
    raw.set_len(64 * MIB).unwrap();
    fixture
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn convert(fixture: &ProcessFixture, format: &str, output: &str) {
    run("qemu-img", &["convert", "-f", "raw", "-O", format, "golden.raw", output], &fixture.path(""));
}

/// Uploads a file, waits, and compares every target. Returns the result.
fn deliver(fixture: &ProcessFixture, file: &str, version: &str, more: &[&str]) -> serde_json::Value {
    let upload = ["upload", file, "--image", "golden", "--version", version, "--os", "linux"];
    let result = fixture.json(&[&upload[..], &["--no-dispatch"], more].concat());
    fixture.succeed(&["dispatch", "--image", "golden", "--version", version, "--wait"]);
    let golden = AzureDisk::open(&fixture.path(if more.is_empty() { file } else { "expected" })).unwrap();
    let mut targets = 0;
    for account in std::fs::read_dir(fixture.path("cloud")).unwrap() {
        let vhd = account.unwrap().path().join(format!("vhds/golden/{version}.vhd"));
        if vhd.exists() {
            assert_eq!(same_disk(&golden, &vhd).unwrap(), None, "{file}: {}", vhd.display());
            targets += 1;
        }
    }
    assert_eq!(targets, 2, "{file}");
    result
}

fn codes(result: &serde_json::Value) -> Vec<&str> {
    result["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
fn images_of_all_formats_are_delivered_byte_for_byte() {
    let fixture = fixture();
    convert(&fixture, "qcow2", "golden.qcow2");
    convert(&fixture, "vhdx", "golden.vhdx");
    convert(&fixture, "vmdk", "golden.vmdk");
    run("xz", &["-0", "-k", "golden.raw"], &fixture.path(""));
    let first = deliver(&fixture, "golden.raw", "1", &[]);
    assert_eq!(codes(&first), ["not-inspected", "converted", "new-footer"]);
    for (file, version) in [("golden.qcow2", "2"), ("golden.vhdx", "3"), ("golden.vmdk", "4"), ("golden.raw.xz", "5")] {
        let result = deliver(&fixture, file, version, &[]);
        // The same disk has the same chunks and the same footer in every format.
        assert_eq!(result["bytes_sent"], 0, "{file}: {result}");
        assert_eq!(result["digest"], first["digest"], "{file}");
    }
    // A disk whose size is not a whole number of MiB is padded with zeros, and the backup of its partition table moves.
    run("qemu-img", &["resize", "-f", "raw", "golden.raw", "+1536"], &fixture.path(""));
    run("sgdisk", &["-e", "golden.raw"], &fixture.path(""));
    convert(&fixture, "qcow2", "odd.qcow2");
    let result = deliver(&fixture, "odd.qcow2", "6", &[]);
    assert_eq!(codes(&result), ["not-inspected", "converted", "rounded", "gpt-backup-moved", "new-footer"]);
}

#[test]
fn a_converted_file_is_what_would_be_uploaded() {
    let fixture = fixture();
    convert(&fixture, "vhdx", "golden.vhdx");
    let result = fixture.json(&["convert", "golden.vhdx", "expected"]);
    assert_eq!(result["length"], 64 * MIB + 512);
    let image = AzureDisk::open(&fixture.path("golden.vhdx")).unwrap();
    assert_eq!(same_disk(&image, &fixture.path("expected")).unwrap(), None);
    let again = fixture.run(&["convert", "golden.vhdx", "expected"]);
    assert_eq!(again.status.code(), Some(2));
    let message = String::from_utf8_lossy(&again.stderr);
    assert!(message.contains("exists") && message.contains("--force"), "{message}");
    fixture.succeed(&["convert", "golden.vhdx", "expected", "--force"]);
    // The disk image itself is never overwritten.
    let own = fixture.run(&["convert", "golden.vhdx", "golden.vhdx", "--force"]);
    assert_eq!(own.status.code(), Some(2), "{}", String::from_utf8_lossy(&own.stderr));
    deliver(&fixture, "golden.vhdx", "1", &["--format", "vhdx"]);
}

#[test]
fn what_is_refused_says_what_to_do() {
    let fixture = fixture();
    convert(&fixture, "vdi", "golden.vdi");
    for command in ["check", "convert"] {
        let target: &[&str] = if command == "convert" { &["out.vhd"] } else { &[] };
        let refused = fixture.run(&[&[command, "golden.vdi"], target].concat());
        assert_eq!(refused.status.code(), Some(2));
        let message = [refused.stdout, refused.stderr].concat();
        let message = String::from_utf8_lossy(&message);
        assert!(message.contains("VDI") && message.contains("qemu-img convert"), "{message}");
    }
    assert!(!fixture.path("out.vhd").exists());
    let unknown = fixture.run(&["check", "golden.vhd", "--accept", "no-such-code"]);
    assert_eq!(unknown.status.code(), Some(2));
    let fact = fixture.run(&["check", "golden.vhd", "--accept", "too-small"]);
    assert_eq!(fact.status.code(), Some(2));
    fixture.succeed(&["check", "golden.vhd", "--accept", "gpt-damaged"]);
}

/// A target whose sinks an upload cannot fill is reported before the first byte is sent, and is no reason to refuse an
/// upload without a dispatch.
#[test]
fn upload_to_other_sinks_is_refused_before_the_first_byte() {
    let fixture = fixture();
    let targets = fixture.path("targets.toml");
    let text = std::fs::read_to_string(&targets).unwrap();
    let sinks = "container = \"vhds\"\nsinks = [\"image\", \"snapshot\"]\n";
    std::fs::write(&targets, text.replacen("container = \"vhds\"\n", sinks, 1)).unwrap();
    let refused = fixture.run(&fixture.upload(&[]));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && message.contains("other sinks"), "{message}");
    assert!(!fixture.path("cloud/goldsource").exists(), "something was sent");
    fixture.succeed(&fixture.upload(&["--no-dispatch"]));
}
