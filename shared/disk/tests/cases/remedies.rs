//! Remedies.

use super::*;

/// Commands in remedies can be run as they are: they make a file that can be read, and do nothing if it exists.
#[test]
fn remedy_commands_overwrite_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(32 * M).write(&raw, None);
    let backing = format!("backing_file={},backing_fmt=raw", qemu::text(&raw));
    for (name, format, options) in
        [("it's.vdi", "vdi", ""), ("-a b.qed", "qed", ""), ("b.img", "qcow2", &backing), ("c.qcow2", "qcow2", &backing)]
    {
        let image = folder.path().join(name);
        if format == "qcow2" {
            qemu::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, qemu::text(&image), "32M"]);
        } else {
            qemu::convert(&raw, format, options, &image, &[]);
        }
        let report = with(&image, |_| {}).report;
        let command = format!("test {}", report.findings[0].remedy.split_once("test ").unwrap().1);
        let shell = || std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success();
        assert!(shell(), "{command}");
        let made = image.with_extension(if name == "c.qcow2" { "new.qcow2" } else { "qcow2" });
        let before = std::fs::read(&made).unwrap();
        assert_eq!(errors(&with(&made, |_| {}).report), NONE, "{command}");
        assert!(!shell(), "{command}");
        assert_eq!(std::fs::read(&made).unwrap(), before);
    }
}

/// A small disk of no whole MiB gets remedies that do not contradict each other.
#[test]
fn remedies_are_consistent_and_harmless() {
    let mut disk = Pieces::new(4 * M + 512);
    Gpt::default().write(&mut disk, &[(ESP, 2048, 4095)]);
    let report = report_of(&disk, None);
    assert_eq!(errors(&report), ["too-small"]);
    assert!(report.findings.iter().all(|finding| !finding.remedy.contains("5 MiB")), "{report:?}");
    for code in codes::ALL {
        for harmful in ["gdisk", "-f vpc", ".raw", "-f raw"] {
            assert!(!code.remedy.contains(harmful), "{}", code.name);
        }
    }
}
