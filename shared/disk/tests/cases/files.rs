//! Files that are damaged, or not disk images.

use super::*;

/// Files that are not what they should be: the code of the error, or nothing if they are accepted.
#[test]
fn damaged_files_report_the_actual_cause() {
    let disk = os_disk(32 * M);
    let fixed = FooterSpec::fixed(disk.size);
    let (blob, foot) = ([disk.bytes(), fixed.bytes().to_vec()].concat(), fixed.bytes().to_vec());
    let body = &blob[..blob.len() - 512];
    let ending = |tail: &[u8]| [body, tail].concat();
    let other = |kind: u32, data_offset: u64| FooterSpec { kind, data_offset, ..fixed.clone() }.bytes().to_vec();
    let longer = |length: usize| {
        let mut file = blob.clone();
        file.resize(length, 0);
        file
    };
    let cases: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("plain", blob.clone(), None),
        ("padded by 512", longer(blob.len() + 512), Some("padded")),
        ("padded to MiB", longer(33 * MIB), Some("padded")),
        ("padded to MiB + 512", longer(33 * MIB + 512), Some("padded")),
        ("one byte more", [&blob[..], b"\n"].concat(), Some("padded")),
        ("footer of 511 bytes", blob[..blob.len() - 1].to_vec(), Some("footer-511")),
        ("two footers", ending(&[foot.clone(), foot.clone()].concat()), Some("footer-size-mismatch")),
        ("2 MiB more", ending(&[vec![0; 2 * MIB], foot.clone()].concat()), Some("footer-size-mismatch")),
        ("1 MiB less", [&blob[..31 * MIB], &foot].concat(), Some("truncated")),
        // The backup of the GPT is in the last sector, so that this is a complete raw disk.
        ("footer lost", body.to_vec(), None),
        ("half a footer", blob[..blob.len() - 256].to_vec(), Some("raw")),
        ("footer zeroed", ending(&[0; 512]), Some("raw")),
        ("footer at the head only", [&foot[..], body].concat(), Some("unknown-format")),
        ("text for a footer", ending(&b"<!DOCTYPE html>".repeat(40)[..512]), Some("raw")),
        ("checksum 0", ending(&FooterSpec { checksum: Some(0), ..fixed.clone() }.bytes()), Some("footer-checksum")),
        ("type 0", ending(&other(0, u64::MAX)), Some("footer-type")),
        ("type 5", ending(&other(5, u64::MAX)), Some("footer-type")),
        ("type 3, but fixed", ending(&other(3, 512)), Some("damaged")),
        ("type 3 without header", ending(&other(3, u64::MAX)), Some("damaged")),
        ("type 4 without header", ending(&other(4, 1 << 40)), Some("truncated")),
        ("zeros", vec![0; 32 * MIB + 512], Some("unknown-format")),
        ("short", b"abc".to_vec(), Some("unknown-format")),
        ("empty", vec![], Some("empty")),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in cases {
        let path = folder.path().join("a.vhd");
        std::fs::write(&path, bytes).unwrap();
        let report = with(&path, |_| {}).report;
        assert_eq!(errors(&report), Vec::from_iter(expected), "{name}: {report:?}");
    }
}

/// Read as raw, an image becomes a disk that no machine boots, and nothing would notice.
#[test]
fn stated_raw_rejects_other_formats() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("a.raw"), folder.path().join("a.image"));
    os_disk(32 * M).write(&raw, None);
    for format in ["qcow2", "vhdx", "vmdk", "vpc"] {
        qemu::convert(&raw, format, "", &image, &[]);
        let report = with(&image, |options| options.open.format = Some(StatedFormat::Raw)).report;
        assert_eq!(errors(&report), ["format-mismatch"], "{format}");
    }
}

/// An image of another format than the stated one is not damaged.
#[test]
fn stated_format_that_is_not_that_of_the_image_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("a.raw"), folder.path().join("a.image"));
    os_disk(32 * M).write(&raw, None);
    let stated = [
        ("qcow2", StatedFormat::Qcow2),
        ("vhdx", StatedFormat::Vhdx),
        ("vmdk", StatedFormat::Vmdk),
        ("vpc", StatedFormat::Vhd),
    ];
    for (format, own) in stated {
        qemu::convert(&raw, format, "", &image, &[]);
        for (_, other) in stated {
            let report = with(&image, |options| options.open.format = Some(other)).report;
            let expected: &[&str] = if own == other { &NONE } else { &["format-mismatch"] };
            assert_eq!(errors(&report), expected, "{format}, stated as {other:?}");
        }
    }
}

#[test]
fn truncated_dynamic_vhd_is_reported() {
    let mut rng = Rng(5);
    let file = vhd::Dynamic { gap: 0, header_at: 512, ..vhd::Dynamic::random(&mut rng) }
        .write(&os_disk(32 * M).bytes(), &mut rng);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    std::fs::write(&path, &file[..file.len() - 1000]).unwrap();
    let report = with(&path, |_| {}).report;
    assert_eq!((errors(&report), report.format), (vec!["truncated"], Format::DynamicVhd));
    let report = with(&path, |options| options.open.format = Some(StatedFormat::Vhd)).report;
    assert_eq!(errors(&report), ["truncated"]);
    // A dynamic disk whose footer says that it is fixed.
    let mut fixed = file.clone();
    let end = fixed.len() - 512;
    fixed[end..].copy_from_slice(&FooterSpec::fixed(32 * M).bytes());
    std::fs::write(&path, fixed).unwrap();
    assert!(!with(&path, |_| {}).report.is_usable());
}

/// Files of other formats are named. So is a VHD that holds one, as converting them "as raw" makes it.
#[test]
fn other_formats_are_reported_also_inside_a_vhd() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (disk, raw) = (os_disk(32 * M), file("m.raw"));
    disk.write(&raw, None);
    let mut random = vec![0; MIB];
    Rng(3).fill(&mut random);
    let mut cases: Vec<(PathBuf, &str)> = Vec::new();
    for (format, code) in [("vdi", "other-format"), ("qed", "other-format"), ("parallels", "other-format")] {
        qemu::convert(&raw, format, "", &file(format), &[]);
        cases.push((file(format), code));
    }
    let magic = |head: &[u8]| [head, &random].concat();
    let at = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0; 64 * KIB];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    };
    for (name, bytes, code) in [
        ("luks", magic(b"LUKS\xba\xbe\0\x01"), "not-a-disk-image"),
        ("iso", at(0x8001, b"CD001\x01"), "not-a-disk-image"),
        ("wim", magic(b"MSWIM\0\0\0"), "not-a-disk-image"),
        ("ova", at(257, b"ustar\0"), "not-a-disk-image"),
        ("zip", magic(b"PK\x03\x04"), "not-a-disk-image"),
        ("7z", magic(b"7z\xbc\xaf\x27\x1c"), "not-a-disk-image"),
        ("elf", magic(b"\x7fELF\x02"), "not-a-disk-image"),
        (
            "xml",
            b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>\n".to_vec(),
            "not-a-disk-image",
        ),
        (
            "lfs",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 33554944\n".to_vec(),
            "not-a-disk-image",
        ),
        ("dmg", [&random[..], &[b"koly".as_slice(), &[0; 508]].concat()].concat(), "other-format"),
        ("zstd", magic(b"\x28\xb5\x2f\xfd\0\0\xff\xff\xff"), "damaged"),
        ("gzip", magic(b"\x1f\x8b\x08\0\0\0\0\0\0\0"), "damaged"),
    ] {
        std::fs::write(file(name), bytes).unwrap();
        cases.push((file(name), code));
    }
    for (path, code) in cases {
        let report = with(&path, |_| {}).report;
        assert_eq!(errors(&report), [code], "{}: {report:?}", path.display());
        // The end of a DMG says what it is; and a disk may be encrypted as a whole, or have been an installation
        // medium.
        if ["dmg", "luks", "iso"].iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.resize(bytes.len().next_multiple_of(MIB).max(20 * MIB), 0);
        bytes.extend(FooterSpec::fixed(bytes.len() as u64).bytes());
        let wrapped = path.with_extension("wrapped.vhd");
        std::fs::write(&wrapped, bytes).unwrap();
        let report = with(&wrapped, |options| options.generation = Some(Generation::V2)).report;
        assert_eq!(errors(&report), ["wrapped-file"], "{}: {report:?}", wrapped.display());
    }
}

/// A VHD around a VHD, as converting a VHD as raw makes it.
#[test]
fn vhd_inside_vhd_is_rejected() {
    let disk = os_disk(32 * M);
    let inner = [disk.bytes(), FooterSpec::fixed(disk.size).bytes().to_vec()].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    std::fs::write(&path, [&inner[..], &FooterSpec::fixed(inner.len() as u64).bytes()].concat()).unwrap();
    assert_eq!(errors(&with(&path, |_| {}).report), ["wrapped-file"]);
}
