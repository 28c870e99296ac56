//! The generation that boots a disk, and its size limits.

use super::*;

#[test]
fn partition_table_determines_generation() {
    let plain = Gpt::default;
    assert_eq!(errors_of(&gpt(&[E, L], plain()), None), NONE);
    assert_eq!(errors_of(&gpt(&[E, L], plain()), V1), ["generation-mismatch"]);
    assert_eq!(errors_of(&gpt(&[B, L], plain()), None), NONE);
    assert_eq!(errors_of(&gpt(&[B, L], plain()), V2), ["no-efi-system-partition"]);
    assert_eq!(errors_of(&gpt(&[B, E, L], plain()), None), NONE);
    assert_eq!(errors_of(&gpt(&[B, E, L], plain()), V1), NONE);
    assert_eq!(errors_of(&gpt(&[L], plain()), None), ["generation-unknown"]);
    assert_eq!(errors_of(&gpt(&[L], plain()), V1), NONE);
    assert_eq!(errors_of(&gpt(&[L], plain()), V2), ["no-efi-system-partition"]);
    let n = u32::try_from(N).unwrap();
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 2048, n - 2048)]), None), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 2048, n - 2048)]), V2), ["generation-mismatch"]);
    assert_eq!(errors_of(&mbr_disk(&[(0, 0x83, 2048, n - 2048)]), None), NONE);
    let efi = mbr_disk(&[(0, 0xef, 2048, 4096), (0, 0x83, 8192, n - 8192)]);
    assert_eq!(errors_of(&efi, None), NONE);
    assert_eq!(codes_of(&report_of(&efi, V2), Severity::Warning), ["mbr-efi"]);
}

/// FreeBSD, illumos, and syslinux (a partition marked as bootable, and boot code) boot from BIOS without a BIOS boot
/// partition.
#[test]
fn other_bios_boot_methods_are_accepted() {
    let code = |boot: bool| {
        let mut sector = mbr(&[(0, 0xee, 1, u32::try_from(N).unwrap() - 1)]);
        sector[..3].copy_from_slice(if boot { b"\xeb\x63\x90" } else { b"\0\0\0" });
        Some(sector)
    };
    for kind in [types::FREEBSD_BOOT, types::SOLARIS_BOOT] {
        let disk = gpt(&[(kind, 40, 1063), L], Gpt::default());
        assert_eq!(report_of(&disk, None).generation, V1);
        assert_eq!(errors_of(&disk, V1), NONE);
    }
    let syslinux = gpt(&[L], Gpt { attributes: 4, protective: code(true), ..Gpt::default() });
    let report = report_of(&syslinux, None);
    assert_eq!((report.generation, codes_of(&report, Severity::Warning)), (V1, vec![]));
    // Boot code alone is worth a warning.
    let boot_code = gpt(&[L], Gpt { protective: code(true), ..Gpt::default() });
    for stated in [None, V1] {
        let report = report_of(&boot_code, stated);
        assert_eq!((errors(&report), report.generation), (vec![], V1));
        assert_eq!(codes_of(&report, Severity::Warning), ["no-bios-boot-partition"]);
    }
    let both = gpt(&[E, L], Gpt { protective: code(true), ..Gpt::default() });
    assert_eq!(codes_of(&report_of(&both, V1), Severity::Warning), ["no-bios-boot-partition"]);
    assert_eq!(report_of(&both, None).generation, V2);
    // Windows writes boot code, too, but boots from a GPT only by UEFI.
    let windows = gpt(&[E, (types::MICROSOFT_RESERVED, 4096, 8191)], Gpt { protective: code(true), ..Gpt::default() });
    assert_eq!(errors_of(&windows, V1), ["generation-mismatch"]);
}

#[test]
fn only_deductions_can_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    let disk = gpt(&[E, L], Gpt::default());
    disk.write(&path, Some(&FooterSpec::fixed(disk.size).bytes()));
    let report = with(&path, |options| {
        options.generation = V1;
        options.accept = vec!["generation-mismatch".to_owned()];
    })
    .report;
    assert_eq!((errors(&report), codes_of(&report, Severity::Warning)), (vec![], vec!["generation-mismatch"]));
    assert!(report.findings[0].message.ends_with("(accepted)"));
    let mut small = Pieces::new(4 * M);
    Gpt::default().write(&mut small, &[(ESP, 2048, 4095)]);
    small.write(&path, Some(&FooterSpec::fixed(small.size).bytes()));
    let report = with(&path, |options| options.accept = vec!["too-small".to_owned()]).report;
    assert_eq!(errors(&report), ["too-small"]);
}

#[test]
fn disks_without_gpt() {
    let n = u32::try_from(N).unwrap();
    let mut fat = vec![0; 512];
    fat[..11].copy_from_slice(b"\xeb\x3c\x90mkfs.fat");
    fat[54..62].copy_from_slice(b"FAT16   ");
    // Code where the entries would be.
    fat[446..450].copy_from_slice(b"\x42\x42\x42\x42");
    fat[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut floppy = Pieces::new(64 * M);
    floppy.put(0, fat);
    assert_eq!(errors_of(&floppy, None), ["generation-unknown"]);
    assert_eq!(errors_of(&floppy, V2), NONE);
    assert_eq!(errors_of(&mbr_disk(&[]), None), ["generation-unknown"]);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0xa5, 63, n - 63)]), None), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0xa5, 0, 50_000)]), None), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0, 0, n), (0, 0xef, 300, 5000)]), V1), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x81, 0x83, 2048, n - 2048)]), None), ["generation-unknown"]);
}

#[test]
fn size_limits() {
    for (mib, expected) in [(4, vec!["too-small"]), (19, vec!["too-small"]), (20, vec![]), (21, vec![])] {
        let mut disk = Pieces::new(mib * M);
        Gpt::default().write(&mut disk, &[E, (LINUX, 4096, mib * M / 512 - 2048)]);
        assert_eq!(errors_of(&disk, None), expected, "{mib}");
    }
    const T: u64 = 1 << 40;
    let record = |size: u64| {
        let mut disk = Pieces::new(size);
        disk.put(0, mbr(&[(0x80, 0x83, 2048, 0xffff_f000 - 2048)]));
        disk
    };
    let table = |size: u64, first: &[(PartitionType, u64, u64)]| {
        let mut disk = Pieces::new(size);
        Gpt::default().write(&mut disk, &[first, &[(LINUX, 4096, size / 512 - 2048)]].concat());
        disk
    };
    assert_eq!(errors_of(&record(2 * T), None), NONE);
    assert_eq!(errors_of(&record(3 * T), None), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[B]), None), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[B, E]), V1), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[]), V1), ["too-large-for-v1"]);
    assert_eq!(errors_of(&Pieces::new(3 * T), V1), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[E]), None), NONE);
    assert_eq!(errors_of(&table(4095 << 30, &[E]), None), NONE);
    assert_eq!(errors_of(&table(4096 << 30, &[E]), None), ["too-large"]);
}
