//! Damaged images give an error or a finding: no panic, no hang, and less than 256 MiB of memory.
//!
//! `GOLDFLEET_DAMAGED=20000` damages as many files (`tests/long.sh` does); by default 500. `GOLDFLEET_DAMAGE=17` runs
//! one case alone. Inputs that fuzzing has found are in `tests/found`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{KIB, MIB, Rng, peak_memory_kib, reseal, seeds};
use goldfleet_disk::{
    CheckOptions, DataRanges, DiskReader, MemoryDisk, OpenOptions, StatedFormat, check_opened, open_reader,
};

const DEFAULT_CASES: u64 = 500;

/// The maximum time for reading a damaged image. Undamaged images take milliseconds.
const MAX_TIME: Duration = Duration::from_secs(20);

/// The maximum memory of the process, including the seeds and their damaged copies.
const MAX_MEMORY_KIB: u64 = 256 << 10;

#[test]
fn damaged_images_give_errors() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let cases = match number("GOLDFLEET_DAMAGE") {
        Some(case) => case..case + 1,
        None => 0..number("GOLDFLEET_DAMAGED").unwrap_or(DEFAULT_CASES),
    };
    let folder = tempfile::tempdir().unwrap();
    let seeds = seeds::seeds(folder.path());
    let (mut opened, mut refused, begin) = (0, 0, Instant::now());
    for case in cases {
        let mut rng = Rng(case.wrapping_mul(0x9e37));
        let (name, seed) = &seeds[rng.below(seeds.len())];
        let damaged = damage(seed, &mut rng);
        let before = Instant::now();
        let result = std::panic::catch_unwind(|| read(damaged, case % 4 == 0));
        assert!(result.is_ok(), "case {case} ({name}) panicked: run it alone with GOLDFLEET_DAMAGE={case}");
        assert!(before.elapsed() < MAX_TIME, "case {case} ({name}) took {:?}", before.elapsed());
        if result.unwrap() { opened += 1 } else { refused += 1 }
    }
    // The damage must not always or never be detected.
    assert!(opened + refused < 100 || opened > 20 && refused > 20, "{opened} were opened, {refused} refused");
    let memory = peak_memory_kib();
    assert!(memory < MAX_MEMORY_KIB, "{memory} KiB of memory were needed");
    println!("{opened} opened, {refused} refused in {:?}, {memory} KiB at most", begin.elapsed());
}

#[test]
fn fuzzing_findings_are_read_without_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/found");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let before = Instant::now();
        read(bytes.clone(), true);
        reseal::reseal(&mut bytes);
        read(bytes, true);
        assert!(before.elapsed() < MAX_TIME, "{} took {:?}", path.display(), before.elapsed());
        files += 1;
    }
    assert!(files > 0);
}

/// Changes the length or some bytes, mostly of structures. In most cases, checksums are computed again.
fn damage(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    match rng.below(12) {
        0 => bytes.truncate(rng.below(seed.len())),
        1 => bytes.resize(seed.len() + rng.below(2 * MIB), 0),
        _ => {}
    }
    // Structures are where the seed is not zero, and mostly at its beginning.
    for _ in 0..1 + rng.below(6) {
        let limit = rng.pick(&[512, 4 * KIB, 320 * KIB, seed.len()]).min(bytes.len());
        let start = if rng.chance(20) { bytes.len() - limit } else { 0 };
        let mut at = start + rng.below(limit);
        for _ in 0..50 {
            if bytes.get(at).is_some_and(|byte| *byte != 0) {
                break;
            }
            at = start + rng.below(limit);
        }
        let width = rng.pick(&[1, 1, 2, 4, 8]);
        let field = at / width * width;
        let Some(field) = bytes.get_mut(field..field + width) else { continue };
        match rng.below(7) {
            0 => field.fill(0),
            1 => field.fill(0xff),
            2 => field[0] ^= 1 << rng.below(8),
            3 => field[width - 1] ^= 0x80 >> rng.below(8),
            4 => field[0] = field[0].wrapping_add(1),
            5 => field.reverse(),
            _ => rng.fill(field),
        }
    }
    if rng.chance(75) {
        reseal::reseal(&mut bytes);
    }
    bytes
}

/// Checks an image and reads parts of it. Returns whether it could be opened with its detected format.
fn read(bytes: Vec<u8>, stated: bool) -> bool {
    let source: Arc<dyn DiskReader> = Arc::new(MemoryDisk(bytes));
    if stated {
        for format in
            [StatedFormat::Vhd, StatedFormat::Vhdx, StatedFormat::Qcow2, StatedFormat::Vmdk, StatedFormat::Raw]
        {
            read_as(&source, Some(format));
        }
    }
    read_as(&source, None)
}

fn read_as(source: &Arc<dyn DiskReader>, format: Option<StatedFormat>) -> bool {
    let options = CheckOptions {
        open: OpenOptions { format, time: Some(Duration::from_secs(10)), ..OpenOptions::default() },
        repair_gpt: true,
        ..CheckOptions::default()
    };
    let opened = open_reader(Arc::clone(source), &options.open);
    let checked = check_opened(Path::new("damaged"), opened, &options);
    let Some(azure) = checked.disk else {
        assert!(!checked.report.is_usable(), "{:?}", checked.report);
        return false;
    };
    // The beginning, the end, and the first data.
    let mut buffer = vec![0; 256 * KIB];
    let size = azure.size();
    for at in [0, size.saturating_sub(buffer.len() as u64)] {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let _ = azure.read_at(at, &mut buffer[..length]);
    }
    for range in DataRanges::new(&azure).take(64) {
        let Ok(range) = range else { break };
        assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(buffer.len());
        let _ = azure.read_at(range.start, &mut buffer[..length]);
    }
    true
}

/// Writes small images as the corpus from which fuzzing starts.
#[test]
#[ignore = "writes files for fuzzing; run by shared/disk/fuzz/run.sh"]
fn write_fuzz_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let folder = tempfile::tempdir().unwrap();
    for (n, (name, bytes)) in seeds::corpus_seeds(folder.path()).into_iter().enumerate() {
        let write = |target: &str, input: &[u8]| {
            let place = corpus.join(target);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join(format!("seed-{n}")), input).unwrap();
        };
        if bytes.len() < 600_000 {
            write("detect", &bytes);
        }
        let (target, input) = fuzz_input(&name, bytes);
        write(target, &input);
    }
}

/// The fuzz target of a seed, and the input that gives this image there.
fn fuzz_input(name: &str, bytes: Vec<u8>) -> (&'static str, Vec<u8>) {
    let prefixed = |first: u8, bytes: &[u8]| [&[first], bytes].concat();
    match name.split(' ').next().unwrap_or(name) {
        "dynamic" => ("vhd", prefixed(1, &bytes[..bytes.len() - 512])),
        "VHDX" | "vhdx" => ("vhdx", scattered(&bytes)),
        "qcow2" => ("qcow2", bytes),
        "vmdk" => ("vmdk", bytes),
        "raw" => ("partitions", bytes),
        "gzip" => ("compressed", prefixed(0, &bytes)),
        "xz" => ("compressed", prefixed(1, &bytes)),
        "zstd" => ("compressed", prefixed(2, &bytes)),
        "bzip2" => ("compressed", prefixed(3, &bytes)),
        _ => ("detect", bytes),
    }
}

/// The structures of a VHDX as the fuzz target puts them together: for each place a length in units of 4 bytes, and the
/// bytes.
fn scattered(file: &[u8]) -> Vec<u8> {
    const PLACES: [usize; 10] = [
        64 * KIB,
        128 * KIB,
        192 * KIB,
        MIB,
        MIB + 4 * KIB,
        MIB + 8 * KIB,
        2 * MIB,
        2 * MIB + 64 * KIB,
        3 * MIB,
        4 * MIB,
    ];
    PLACES.iter().filter_map(|&at| file.get(at..at + 1020)).flat_map(|bytes| [&[255], bytes].concat()).collect()
}
