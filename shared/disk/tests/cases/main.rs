//! Small inputs with their expected outcome.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod compressed;
mod conversion;
mod files;
mod footers;
mod generation;
mod limits;
mod references;
mod remedies;
mod repair;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use common::gpt::{BIOS, ESP, Gpt, LINUX, Pieces, mbr, os_disk};
use common::vhd::FooterSpec;
use common::{KIB, MIB, Rng, qemu, vhd};
use goldfleet_disk::{
    AzureDisk, CheckOptions, Checked, ConvertOptions, Format, Generation, MemoryDisk, OpenOptions, PartitionType,
    Report, Severity, StatedFormat, check, codes, convert, first_difference, types,
};

const M: u64 = 1 << 20;
/// Sectors of a disk of 64 MiB.
const N: u64 = 64 * M / 512;

const E: (PartitionType, u64, u64) = (ESP, 2048, 4095);
const L: (PartitionType, u64, u64) = (LINUX, 4096, N - 2048);
const B: (PartitionType, u64, u64) = (BIOS, 34, 2047);
const V1: Option<Generation> = Some(Generation::V1);
const V2: Option<Generation> = Some(Generation::V2);
const NONE: [&str; 0] = [];

fn with(path: &Path, change: impl FnOnce(&mut CheckOptions)) -> Checked {
    let mut options = CheckOptions::default();
    change(&mut options);
    check(path, &options)
}

fn codes_of(report: &Report, severity: Severity) -> Vec<&'static str> {
    report.findings.iter().filter(|finding| finding.severity == severity).map(|finding| finding.code).collect()
}

fn errors(report: &Report) -> Vec<&'static str> {
    codes_of(report, Severity::Error)
}

/// The errors of a disk in a fixed VHD, for a stated generation.
fn errors_of(disk: &Pieces, generation: Option<Generation>) -> Vec<&'static str> {
    errors(&report_of(disk, generation))
}

fn report_of(disk: &Pieces, generation: Option<Generation>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    disk.write(&path, Some(&FooterSpec::fixed(disk.size).bytes()));
    let checked = with(&path, |options| options.generation = generation);
    // A disk that is accepted is delivered byte for byte, except for the backup of a GPT.
    if let (true, Some(azure)) = (checked.report.is_usable(), &checked.disk)
        && disk.size < 1 << 30
    {
        let same = first_difference(azure, &MemoryDisk(disk.bytes()), disk.size).unwrap();
        assert!(same.is_none() || !azure.changes().is_empty(), "{same:?}");
    }
    checked.report
}

fn write_vhd(azure: &AzureDisk, output: &Path) {
    let options = ConvertOptions { no_sync: true, ..ConvertOptions::default() };
    convert(azure, output, &options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
}

/// The file is the disk with zeros appended, the backup of the GPT at the end, and in the first header only
/// AlternateLBA, LastUsableLBA and the checksum changed.
fn only_allowed_changes(original: &[u8], output: &Path) {
    let file = std::fs::read(output).unwrap();
    let disk = &file[..file.len() - 512];
    assert!(disk.len().is_multiple_of(MIB) && disk.len() >= original.len() && disk.len() - original.len() < MIB);
    let mut expected = original.to_vec();
    expected.resize(disk.len(), 0);
    for field in [16..20, 32..40, 48..56] {
        let field = 512 + field.start..512 + field.end;
        expected[field.clone()].copy_from_slice(&disk[field]);
    }
    let backup = disk.len() - 33 * 512;
    expected[backup..].copy_from_slice(&disk[backup..]);
    assert!(expected == disk, "something else was changed");
    // The table is the first one's, and the copy is accepted as it is.
    assert_eq!(disk[backup..backup + 32 * 512], original[1024..1024 + 32 * 512]);
    let again = with(output, |_| {});
    assert_eq!((errors(&again.report), again.disk.unwrap().changes().len()), (vec![], 0));
    let verified = qemu::run("sgdisk", &["-v", qemu::text(&raw_copy(output, disk))]);
    assert!(verified.contains("No problems found"), "{verified}");
}

fn raw_copy(output: &Path, disk: &[u8]) -> PathBuf {
    let raw = output.with_extension("raw");
    std::fs::write(&raw, disk).unwrap();
    raw
}

/// A GPT in a disk of 64 MiB with data.
fn gpt(parts: &[(PartitionType, u64, u64)], table: Gpt) -> Pieces {
    let mut disk = Pieces::new(64 * M);
    table.write(&mut disk, parts);
    let mut data = vec![0; 100_000];
    Rng(9).fill(&mut data);
    disk.put(4 * M, data);
    disk
}

fn mbr_disk(parts: &[(u8, u8, u32, u32)]) -> Pieces {
    let mut disk = Pieces::new(64 * M);
    disk.put(0, mbr(parts)).put(4 * M, [5; 4096]);
    disk
}
