//! Limits on time and on the size of tables.

use std::sync::Arc;
use std::time::Duration;

use super::*;

/// A sparse file can refer to so many tables that examining them takes hours.
#[test]
fn number_of_table_entries_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut qcow2 = vec![0; 4096];
    qcow2[..4].copy_from_slice(b"QFI\xfb");
    // Version 2, clusters of 4 KiB, 8 TiB, 4 Mi entries of the first table.
    for (at, number) in [(4, 2_u32), (20, 12), (36, 4 << 20)] {
        qcow2[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    qcow2[24..32].copy_from_slice(&(8_u64 << 40).to_be_bytes());
    qcow2[40..48].copy_from_slice(&4096_u64.to_be_bytes());
    let mut vmdk = vec![0; 4096];
    vmdk[..4].copy_from_slice(b"KDMV");
    // Version 1, 2 Gi grains of one sector, tables of one grain, the directory at sector 1.
    for (at, number) in [(4, 1_u32), (12, 2 << 30), (20, 1), (44, 1), (56, 1)] {
        vmdk[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    for header in [qcow2, vmdk] {
        std::fs::write(&path, header).unwrap();
        assert_eq!(errors(&with(&path, |_| {}).report), ["limit-exceeded"]);
    }
}

#[test]
fn checking_tables_can_be_cancelled_and_has_a_time_limit() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(32 * M).write(&raw, None);
    for (format, options) in [
        ("qcow2", ""),
        ("vhdx", ""),
        ("vpc", "subformat=dynamic"),
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=monolithicFlat"),
    ] {
        let image = folder.path().join(format!("image.{format}"));
        qemu::convert(&raw, format, options, &image, &[]);
        let report = with(&image, |options| options.open.cancel = Some(Arc::new(AtomicBool::new(true)))).report;
        assert_eq!(errors(&report), ["cancelled"], "{format} {options}");
        let report = with(&image, |options| options.open.time = Some(Duration::ZERO)).report;
        assert_eq!(errors(&report), ["limit-exceeded"], "{format} {options}");
    }
}
