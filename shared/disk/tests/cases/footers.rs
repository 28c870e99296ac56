//! Footers of all creators, and damaged footers.

use super::*;

#[test]
fn footer_of_every_creator_is_unchanged() {
    let disk = os_disk(64 * M);
    let fixed = || FooterSpec::fixed(disk.size);
    let creators = ["vbox", "d2v ", "vpc ", "vs  ", "qemu", "qem2", "tap\0", "CTXS", "wa\0\0", "\0\0\0\0", "gold"];
    let mut specs: Vec<FooterSpec> = creators
        .iter()
        .map(|creator| FooterSpec { creator: creator.as_bytes().try_into().unwrap(), ..fixed() })
        .collect();
    specs.extend([
        FooterSpec { host: *b"Mac ", ..fixed() },
        FooterSpec { creator_version: 0x000a_0000, ..fixed() },
        FooterSpec { geometry: Some([0xff, 0xff, 0x10, 0xff]), ..fixed() },
        FooterSpec { geometry: Some([0; 4]), ..fixed() },
        FooterSpec { stamp: 0, ..fixed() },
        FooterSpec { stamp: 0xfff0_0000, ..fixed() },
        FooterSpec { saved: 1, ..fixed() },
        FooterSpec { features: 0, ..fixed() },
        FooterSpec { features: 3, ..fixed() },
        FooterSpec { original: 32 * M, ..fixed() },
        FooterSpec { id: [0; 16], ..fixed() },
        FooterSpec { data_offset: 0, ..fixed() },
        FooterSpec { data_offset: 0xffff_ffff, ..fixed() },
        FooterSpec { version: 0, ..fixed() },
        FooterSpec { reserved: 1, ..fixed() },
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    for spec in specs {
        let footer = spec.bytes();
        disk.write(&path, Some(&footer));
        let checked = with(&path, |_| {});
        assert_eq!(errors(&checked.report), [""; 0], "{spec:?}");
        let azure = checked.disk.unwrap();
        assert_eq!((azure.footer(), azure.changes().len()), (footer, 0), "{spec:?}");
        assert_eq!(first_difference(&azure, &MemoryDisk(disk.bytes()), disk.size).unwrap(), None);
    }
}

/// A size for which the geometry of the specification gives less than the disk has.
#[test]
fn rounding_keeps_the_disk_of_every_creator() {
    let size = 65 * M + 300 * 512;
    for creator in ["vbox", "wa\0\0", "vpc ", "vs  ", "gold", "win "] {
        let mut disk = Pieces::new(size);
        Gpt::default().write(&mut disk, &[(ESP, 2048, 4095), (LINUX, 4096, size / 512 - 2048)]);
        disk.put(size - 40 * 512, [0x77; 512]);
        let folder = tempfile::tempdir().unwrap();
        let (path, output) = (folder.path().join("a.vhd"), folder.path().join("out.vhd"));
        let spec = FooterSpec { creator: creator.as_bytes().try_into().unwrap(), ..FooterSpec::fixed(size) };
        disk.write(&path, Some(&spec.bytes()));
        let checked = with(&path, |_| {});
        assert_eq!(errors(&checked.report), [""; 0]);
        assert_eq!(codes_of(&checked.report, Severity::Note), ["rounded", "gpt-backup-moved"]);
        write_vhd(&checked.disk.unwrap(), &output);
        only_allowed_changes(&disk.bytes(), &output);
        // QEMU reads the same size.
        let info = qemu::run("qemu-img", &["info", "-f", "vpc", qemu::text(&output)]);
        assert!(info.contains(&format!("({} bytes)", 66 * M)), "{info}");
    }
}

#[test]
fn padded_and_short_footers_are_read_with_stated_format() {
    let disk = os_disk(32 * M);
    let blob = [disk.bytes(), FooterSpec::fixed(disk.size).bytes().to_vec()].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    let mut padded = blob.clone();
    padded.resize(33 * MIB, 0);
    for bytes in [&padded[..], &blob[..blob.len() - 1]] {
        std::fs::write(&path, bytes).unwrap();
        let checked = with(&path, |options| options.open.format = Some(StatedFormat::Vhd));
        assert_eq!(errors(&checked.report), [""; 0]);
        let azure = checked.disk.unwrap();
        assert_eq!(azure.footer(), blob[blob.len() - 512..]);
        assert_eq!(first_difference(&azure, &MemoryDisk(disk.bytes()), disk.size).unwrap(), None);
    }
    // Something that is not zero behind the footer is not padding.
    std::fs::write(&path, [&blob[..], b"\n"].concat()).unwrap();
    let checked = with(&path, |options| options.open.format = Some(StatedFormat::Vhd));
    assert_eq!(errors(&checked.report), ["padded"]);
}
