//! Partition tables.

use super::*;

#[test]
fn protective_and_hybrid_mbrs() {
    let n = u32::try_from(N).unwrap();
    let pmbr = |parts: &[(u8, u8, u32, u32)]| gpt(&[E, L], Gpt { protective: Some(mbr(parts)), ..Gpt::default() });
    assert_eq!(
        errors_of(&pmbr(&[(0, 0xee, 1, 2047), (0x80, 0x0c, 2048, 2048), (0, 0x83, 4096, n - 6144)]), None),
        NONE
    );
    assert_eq!(
        errors_of(&pmbr(&[(0x80, 0x0c, 2048, 2048), (0, 0x83, 4096, n - 6144), (0, 0xee, 1, 2047)]), None),
        NONE
    );
    assert_eq!(errors_of(&pmbr(&[(0x80, 0xee, 1, n - 1)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 1, u32::MAX)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 1, 100)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 1, 2047), (0, 0xee, 4096, n - 4096)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 0, n)]), None), ["gpt-damaged"]);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 2, n - 2)]), None), ["gpt-damaged"]);
    assert_eq!(
        errors_of(&gpt(&[E, L], Gpt { protective: Some(vec![0; 512]), ..Gpt::default() }), None),
        ["gpt-damaged"]
    );
    let mut unsigned = mbr(&[(0, 0xee, 1, n - 1)]);
    unsigned[510] = 0;
    assert_eq!(errors_of(&gpt(&[E, L], Gpt { protective: Some(unsigned), ..Gpt::default() }), None), ["gpt-damaged"]);
    // An old GPT behind a master boot record.
    assert_eq!(errors_of(&pmbr(&[(0x80, 0x83, 2048, n - 2048)]), None), NONE);
}

#[test]
fn invalid_gpt_ranges_are_reported() {
    let go = |parts: &[(PartitionType, u64, u64)]| report_of(&gpt(parts, Gpt::default()), None);
    let report = go(&[E, (LINUX, 4096, N + 100_000)]);
    assert_eq!(errors(&report), ["partition-beyond-end"]);
    assert!(report.findings[0].message.contains("partition 2 ('p1')"), "{report:?}");
    assert_eq!(errors(&go(&[(ESP, N + 10, N + 4095), L])), ["partition-beyond-end"]);
    assert_eq!(errors(&go(&[(ESP, 4095, 2048), L])), ["partition-empty"]);
    assert_eq!(errors(&go(&[(ESP, u64::MAX, u64::MAX), L])), ["partition-beyond-end"]);
    assert_eq!(errors(&go(&[E, (LINUX, 4096, N)])), ["partition-beyond-end"]);
    let overlapping = go(&[E, (LINUX, 4000, N - 2048)]);
    assert_eq!((errors(&overlapping), codes_of(&overlapping, Severity::Warning)), (vec![], vec!["partitions-overlap"]));
    // A disk shrunk below its last partition, with a table written for the smaller disk.
    let mut shrunk = Pieces::new(48 * M);
    Gpt::default().write(&mut shrunk, &[E, L]);
    assert_eq!(errors_of(&shrunk, None), ["partition-beyond-end"]);
    // The same in a table of a larger disk.
    let cut = gpt(&[E, L], Gpt { backup_at: Some(N + 2047), backup: false, ..Gpt::default() });
    assert_eq!(errors_of(&cut, None), ["partitions-cut-short"]);
    let n = u32::try_from(N).unwrap();
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 2048, n)]), None), ["partitions-cut-short"]);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 0, u32::MAX)]), None), ["partitions-cut-short"]);
}

#[test]
fn logical_partitions_are_checked() {
    let n = u32::try_from(N).unwrap();
    let primary = &[(0x80, 0x83, 2048, 20480), (0, 0x05, 22528, n - 22528)];
    let mut disk = mbr_disk(primary);
    assert_eq!(codes_of(&report_of(&disk, None), Severity::Warning), ["logical-partitions-damaged"]);
    // Two logical partitions, the second of which is too long.
    disk.put(22528 * 512, mbr(&[(0, 0x83, 2048, 4096), (0, 0x05, 8192, 8192)]));
    disk.put((22528 + 8192) * 512, mbr(&[(0, 0x83, 2048, n)]));
    let report = report_of(&disk, None);
    assert_eq!(errors(&report), ["partitions-cut-short"], "{report:?}");
    // A chain that returns to its beginning ends the search.
    disk.put((22528 + 8192) * 512, mbr(&[(0, 0x83, 2048, 4096), (0, 0x05, 8192, 8192)]));
    let report = report_of(&disk, None);
    assert!(codes_of(&report, Severity::Warning).contains(&"logical-partitions-damaged"), "{report:?}");
}

#[test]
fn gpt_for_4096_byte_sectors_has_its_own_code() {
    let disk = gpt(&[(ESP, 256, 511), (LINUX, 512, 8191)], Gpt { sector: 4096, ..Gpt::default() });
    assert_eq!(errors_of(&disk, None), ["sector-size-4096"]);
    // As a raw file, its end is proven, but the sector size is the same.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.raw");
    disk.write(&path, None);
    let report = with(&path, |_| {}).report;
    assert_eq!((report.format, errors(&report)), (Format::Raw, vec!["sector-size-4096"]));
    // A VHDX with such sectors and a master boot record counts in them, too.
    let mut rng = Rng(1);
    let spec = common::vhdx::Vhdx { sector: 4096, ..common::vhdx::Vhdx::random(&mut rng) };
    let path = folder.path().join("a.vhdx");
    std::fs::write(&path, spec.write(&mbr_disk(&[(0x80, 0x83, 256, 4096)]).bytes(), &mut rng)).unwrap();
    assert_eq!(errors(&with(&path, |_| {}).report), ["sector-size-4096"]);
}

#[test]
fn gpt_with_other_entry_counts() {
    for entries in [4, 512, 2048] {
        let first = 2 + entries as u64 / 4 + 2048;
        let parts = [(ESP, first, first + 2047), (LINUX, first + 2048, N - 4096)];
        let disk = gpt(&parts, Gpt { entries, ..Gpt::default() });
        assert_eq!(errors_of(&disk, None), NONE, "{entries}");
    }
}
