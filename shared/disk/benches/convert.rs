//! Conversion to a fixed VHD, measured against `qemu-img convert` on the same images in the same run.
//!
//! `cargo bench -p goldfleet-disk --bench convert` measures a generated disk of 4 GiB, and prints ratios of CPU time
//! and wall time. The bound is 1.2 for qcow2 and VHDX. Arguments such as `-- qcow2 VHDX` select images.
//! `GOLDFLEET_BENCH_GIB` changes the size and `GOLDFLEET_BENCH_RUNS` the number of runs. `GOLDFLEET_BENCH_RAW` names a
//! raw disk to measure instead, and `GOLDFLEET_BENCH_FOLDER` the folder for all files (9 GiB).
//!
//! Without `--bench`, as `cargo test --benches` runs it, it converts a small disk once and compares the result; the
//! times are then not meaningful.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use goldfleet_disk::{AzureDisk, ConvertOptions, convert, same_disk};

const MIB: usize = 1 << 20;

/// Runs of each program with and without fsync. The medians are printed.
const RUNS: usize = 3;

/// The unit of times in `/proc`. It is the same on all Linux systems.
const TICKS_PER_SECOND: f64 = 100.0;

/// Name, format and options of qemu-img, further arguments.
const IMAGES: &[(&str, &str, &str, &[&str])] = &[
    ("qcow2", "qcow2", "cluster_size=65536", &[]),
    ("VHDX", "vhdx", "subformat=dynamic", &[]),
    ("VHD, dynamic", "vpc", "subformat=dynamic,force_size", &[]),
    ("VMDK", "vmdk", "subformat=monolithicSparse", &[]),
    ("qcow2, deflate", "qcow2", "compression_type=zlib", &["-c"]),
    ("qcow2, zstd", "qcow2", "compression_type=zstd", &["-c"]),
];

fn main() {
    // Only `cargo bench` passes this argument.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let gib = std::env::var("GOLDFLEET_BENCH_GIB").map_or(4, |gib| gib.parse().unwrap());
    let size = if short { 64 * MIB } else { gib << 30 };
    let runs = std::env::var("GOLDFLEET_BENCH_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let runs = if short { 1 } else { runs };
    let place = std::env::var_os("GOLDFLEET_BENCH_FOLDER").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let folder = tempfile::tempdir_in(place).unwrap();
    let raw: PathBuf = match std::env::var_os("GOLDFLEET_BENCH_RAW") {
        Some(raw) => raw.into(),
        None => {
            let raw = folder.path().join("disk.raw");
            write_disk(&raw, size);
            raw
        }
    };
    let size = usize::try_from(std::fs::metadata(&raw).unwrap().len()).unwrap();
    println!("{} MiB; medians of {runs} runs: qemu-img, goldfleet, ratio", size / MIB);
    println!("{:16} {:26} {:26} {:26}", "image", "CPU", "wall", "wall with fsync");
    let names: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let selected = |name: &str| names.is_empty() || names.iter().any(|selected| selected == name);
    for (name, format, options, more) in IMAGES.iter().filter(|(name, ..)| selected(name)) {
        let image = folder.path().join("image");
        qemu(&[&["convert", "-f", "raw", "-O", format, "-o", options], *more, &[text(&raw), text(&image)]].concat());
        measure(name, &image, format, folder.path(), runs);
        std::fs::remove_file(&image).unwrap();
    }
}

/// Three quarters of the disk hold data, half of which compresses well, between holes of a few MiB.
fn write_disk(raw: &Path, size: usize) {
    let file = File::create(raw).unwrap();
    file.set_len(size as u64).unwrap();
    let (mut state, mut buffer) = (1_u64, vec![0; MIB]);
    for n in (0..size / MIB).filter(|n| n % 16 < 12) {
        for (word, bytes) in buffer.chunks_exact_mut(8).enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = if word % 512 < 256 { state ^ state >> 29 } else { 0x2020_2020_2020_2020 };
            bytes.copy_from_slice(&random.to_le_bytes());
        }
        file.write_all_at(&buffer, (n * MIB) as u64).unwrap();
    }
}

fn measure(name: &str, image: &Path, format: &str, folder: &Path, runs: usize) {
    let (theirs, ours) = (folder.join("qemu.vhd"), folder.join("goldfleet.vhd"));
    let mut columns = [const { Vec::new() }; 6];
    for _ in 0..runs {
        for sync in [false, true] {
            let (cpu, wall) = timed(&theirs, cpu_of_children, || {
                let options = "subformat=fixed,force_size";
                qemu(&["convert", "-f", format, "-O", "vpc", "-o", options, text(image), text(&theirs)]);
                if sync {
                    File::open(&theirs).unwrap().sync_all().unwrap();
                }
            });
            columns[if sync { 4 } else { 2 }].push(wall);
            columns[0].push(cpu);
            std::fs::remove_file(&theirs).unwrap();
            let (cpu, wall) = timed(&ours, cpu_of_process, || {
                let disk = AzureDisk::open(image).unwrap();
                let options = ConvertOptions { no_sync: !sync, ..ConvertOptions::default() };
                convert(&disk, &ours, &options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
            });
            columns[if sync { 5 } else { 3 }].push(wall);
            columns[1].push(cpu);
        }
    }
    assert_eq!(same_disk(&AzureDisk::open(image).unwrap(), &ours).unwrap(), None, "{name}");
    let medians = columns.map(median);
    let pairs = medians.chunks(2).map(|pair| format!("{:7.2}s {:7.2}s {:8.2}", pair[0], pair[1], pair[1] / pair[0]));
    println!("{name:16} {}", pairs.collect::<Vec<_>>().join(" "));
}

/// Removes the output file, and measures CPU and wall time of the work in seconds.
fn timed(output: &Path, cpu: fn() -> f64, work: impl FnOnce()) -> (f64, f64) {
    let _ = std::fs::remove_file(output);
    let (cpu_before, begin) = (cpu(), Instant::now());
    work();
    (cpu() - cpu_before, begin.elapsed().as_secs_f64())
}

/// The CPU time of this process in seconds.
fn cpu_of_process() -> f64 {
    cpu_fields(11)
}

/// The CPU time of all child processes that have ended, in seconds.
fn cpu_of_children() -> f64 {
    cpu_fields(13)
}

/// The sum of two fields of `/proc/self/stat`, counted from the one after the program's name.
fn cpu_fields(first: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: f64 = fields.split_whitespace().skip(first).take(2).map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / TICKS_PER_SECOND
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn qemu(arguments: &[&str]) {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
