//! Conversion to a fixed VHD, measured against `qemu-img convert` on the same images in the same run.
//!
//! `cargo bench -p goldfleet-disk --bench convert` measures a disk of 4 GiB (`GOLDFLEET_BENCH_GIB` changes that) and prints
//! ratios; the required one is at most 1.2 for qcow2 and VHDX. Without `--bench`, as `cargo test --benches` runs it, it converts a
//! small disk once and compares the result: then times say nothing and are not judged.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use goldfleet_disk::{AzureDisk, ConvertOptions, convert, same_disk};

const MIB: usize = 1 << 20;

/// Runs of each program; the median counts.
const RUNS: usize = 3;

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
    let runs = if short { 1 } else { RUNS };
    let place = std::env::var_os("GOLDFLEET_BENCH_FOLDER").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let folder = tempfile::tempdir_in(place).unwrap();
    let raw = folder.path().join("disk.raw");
    write_disk(&raw, size);
    println!("{} MiB, median of {runs}; both without and with waiting until the file is on the disk", size / MIB);
    println!(
        "{:16} {:>8} {:>9} {:>6}   {:>8} {:>9} {:>6}",
        "image", "qemu-img", "goldfleet", "ratio", "+ sync", "+ sync", "ratio"
    );
    for (name, format, options, more) in IMAGES {
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
    let mut seconds = [const { Vec::new() }; 4];
    for _ in 0..runs {
        for (column, sync) in [(0, false), (2, true)] {
            let _ = std::fs::remove_file(&theirs);
            let begun = Instant::now();
            qemu(&[
                "convert",
                "-f",
                format,
                "-O",
                "vpc",
                "-o",
                "subformat=fixed,force_size",
                text(image),
                text(&theirs),
            ]);
            if sync {
                File::open(&theirs).unwrap().sync_all().unwrap();
            }
            seconds[column].push(begun.elapsed().as_secs_f64());
            let _ = std::fs::remove_file(&ours);
            let begun = Instant::now();
            let disk = AzureDisk::open(image).unwrap();
            let options = ConvertOptions { no_sync: !sync, ..ConvertOptions::default() };
            convert(&disk, &ours, &options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
            seconds[column + 1].push(begun.elapsed().as_secs_f64());
        }
    }
    assert_eq!(same_disk(&AzureDisk::open(image).unwrap(), &ours).unwrap(), None, "{name}");
    let [a, b, c, d] = seconds.map(median);
    println!("{name:16} {a:7.2}s {b:8.2}s {:6.2}   {c:7.2}s {d:8.2}s {:6.2}", b / a, d / c);
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
