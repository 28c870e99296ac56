//! Reading and checksumming a VHD: `cargo bench -p goldfleet-tests --bench scan`.
//!
//! One core: the pipeline of an upload's readers (read, find zeros, CRC, hash) against `dd bs=4M of=/dev/null` of the
//! same file from the page cache, in turn; the hashes that were to choose from; a sparse disk of 1 TiB; and what a
//! threshold for zero runs costs and saves on an ext4 file system (made with `mke2fs -d`, from e2fsprogs).
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a program that prints figures")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use goldfleet_disk::chunk::{WindowBuffer, ZERO_RUN_THRESHOLD, is_zero, pack_with, read_window, windows};
use goldfleet_disk::{AzureDisk, DiskReader as _, Footer, GoldenSpec};
use goldfleet_model::checksum::crc64;
use goldfleet_model::manifest::{Generation, Md5Sum};
use goldfleet_tests::bench::size;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bytes of data of a disk that is scanned.
fn data() -> u64 {
    size(GIB, 16 * MIB)
}

/// How often something is measured.
fn rounds() -> usize {
    size(15, 1)
}

/// What a page blob takes, in bytes and in requests a second. Source: Azure's documented limits.
const PAGE_BLOB: (f64, f64) = (60.0 * 1024.0 * 1024.0, 500.0);

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    stay_here()?;
    against_dd(folder.path())?;
    hashes();
    sparse(folder.path())?;
    thresholds(folder.path())
}

/// Keeps this process, and dd after it, on the core where it is now: what moves between cores loses its caches.
fn stay_here() -> anyhow::Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    Ok(sched_setaffinity(None, &here)?)
}

/// Seconds that something takes.
fn seconds(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Scans a disk as an upload does, on this thread alone. Returns bytes of data and runs.
fn scan(path: &Path, threshold: usize) -> anyhow::Result<(u64, usize)> {
    let disk = AzureDisk::open(path)?;
    let ranges = disk.data_ranges().collect::<Result<Vec<_>, _>>()?;
    let (mut buffer, mut bytes, mut runs) = (WindowBuffer::default(), 0, 0);
    for window in windows(&ranges, disk.size()) {
        read_window(&disk, &ranges, &window, &mut buffer)?;
        if let Some(chunk) = pack_with(&mut buffer, window.start, threshold) {
            bytes += u64::from(chunk.length);
            runs += chunk.runs.len();
        }
    }
    Ok((bytes, runs))
}

fn dd(path: &Path) -> anyhow::Result<()> {
    let input = format!("if={}", path.display());
    let status = Command::new("dd").args([&input, "of=/dev/null", "bs=4M"]).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "dd failed");
    Ok(())
}

fn against_dd(folder: &Path) -> anyhow::Result<()> {
    let (spread, converted) = (folder.join("spread.vhd"), folder.join("converted.vhd"));
    GoldenSpec::spread(data() + 8 * MIB, Generation::V1, data(), 1, 1).write(&spread)?;
    against_dd_of("full of random data, written in pieces of 4 MiB", &spread)?;
    // The page cache is read the faster, the larger the pieces in which a file came into it.
    convert(&spread, &converted)?;
    against_dd_of("full of random data, made by qemu-img convert", &converted)?;
    GoldenSpec::spread(data() + 8 * MIB, Generation::V1, data() / 2, 64, 1).write(&spread)?;
    convert(&spread, &converted)?;
    against_dd_of("half random data and half zeros, made by qemu-img convert", &converted)?;
    std::fs::remove_file(spread)?;
    std::fs::remove_file(converted).context("cleaning up")
}

/// Writes a VHD anew, with zeros where it has holes.
fn convert(from: &Path, to: &Path) -> anyhow::Result<()> {
    let made = Command::new("qemu-img")
        .args(["convert", "-S", "0", "-f", "vpc", "-O", "vpc", "-o", "subformat=fixed,force_size"])
        .args([from, to])
        .status()
        .context("qemu-img is missing: install qemu-utils")?;
    ensure!(made.success(), "qemu-img failed");
    Ok(())
}

fn against_dd_of(what: &str, file: &Path) -> anyhow::Result<()> {
    dd(file)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        theirs.push(seconds(|| dd(file))?);
        ours.push(seconds(|| scan(file, ZERO_RUN_THRESHOLD).map(|_| ()))?);
    }
    let rate = |seconds: f64| data() as f64 / GIB as f64 / seconds;
    let (ours, theirs) = (rate(median(ours)), rate(median(theirs)));
    println!(
        "read, zero scan, CRC and hash on one core of a VHD {what}: {ours:.2} GiB/s; dd: {theirs:.2} GiB/s; ratio {:.3} \
         (at least 0.25)",
        ours / theirs
    );
    Ok(())
}

fn hashes() {
    /// How often each hash reads the buffer in one measurement.
    const TIMES: usize = 16;

    let buffer: Vec<u8> = (0..4 * MIB).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 7).to_le_bytes()[0]).collect();
    let rate = |work: &dyn Fn(&[u8])| {
        let times = (0..size(9, 1)).map(|_| {
            let begun = Instant::now();
            for _ in 0..TIMES {
                work(std::hint::black_box(&buffer));
            }
            begun.elapsed().as_secs_f64()
        });
        (TIMES * buffer.len()) as f64 / median(times.collect()) / GIB as f64
    };
    let blake3 = rate(&|bytes| {
        std::hint::black_box(blake3::hash(bytes));
    });
    let sha256 = rate(&|bytes| {
        std::hint::black_box(Sha256::digest(bytes));
    });
    let crc = rate(&|bytes| {
        std::hint::black_box(crc64(bytes));
    });
    let md5 = rate(&|bytes| {
        std::hint::black_box(Md5Sum::of(bytes));
    });
    let zeros = vec![0; buffer.len()];
    let zero = rate(&|_| {
        std::hint::black_box(is_zero(std::hint::black_box(&zeros)));
    });
    println!(
        "a chunk in memory: BLAKE3 {blake3:.2} GiB/s, SHA-256 {sha256:.2} GiB/s (ratio {:.2}), CRC-64/NVME {crc:.1} GiB/s, \
         zero scan {zero:.1} GiB/s",
        blake3 / sha256
    );
    // What the hash threads of an upload have to do, to what its readers do with the same bytes in memory.
    println!(
        "MD5 of runs, which other threads compute: {md5:.2} GiB/s, {:.2} CPU seconds a GiB; BLAKE3 and CRC take {:.3} of that",
        1.0 / md5,
        md5 * (1.0 / blake3 + 1.0 / crc)
    );
}

fn sparse(folder: &Path) -> anyhow::Result<()> {
    let (sparse, dense) = (folder.join("sparse.vhd"), folder.join("dense.vhd"));
    GoldenSpec::spread(1024 * GIB, Generation::V1, data(), 64, 1).write(&sparse)?;
    GoldenSpec::spread(data() + 8 * MIB, Generation::V1, data(), 1, 1).write(&dense)?;
    let (mut wide, mut narrow) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        wide.push(seconds(|| scan(&sparse, ZERO_RUN_THRESHOLD).map(|_| ()))?);
        narrow.push(seconds(|| scan(&dense, ZERO_RUN_THRESHOLD).map(|_| ()))?);
    }
    let ratio = median(wide) / median(narrow);
    println!("scanning data in a sparse disk of 1 TiB takes {ratio:.2} times as long as the same data alone (under 2)");
    std::fs::remove_file(sparse)?;
    std::fs::remove_file(dense).context("cleaning up")
}

/// What each threshold means for an image as it is in life: bytes, runs, and the time that one page blob takes for
/// them.
fn thresholds(folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("disk.vhd");
    if ext4(&file)? {
        table(&format!("an ext4 file system with {} in it", filled_with().0), &file)?;
    } else {
        println!("threshold on ext4: skipped, as mke2fs is missing: install e2fsprogs");
    }
    trimmed(&file)?;
    table("small files, every third of them deleted and trimmed", &file)?;
    std::fs::remove_file(file).context("cleaning up")
}

fn table(what: &str, file: &Path) -> anyhow::Result<()> {
    println!("threshold of zero runs on {what}:");
    for threshold in [512, 4096, 16384, 65536, 262_144, 1 << 20] {
        let (bytes, runs) = scan(file, threshold)?;
        let (by_bytes, by_requests) = (bytes as f64 / PAGE_BLOB.0, runs as f64 / PAGE_BLOB.1);
        println!(
            "  {:>7}: {:>8.1} MiB, {runs:>6} runs; a page blob takes {:.2} s (bytes {by_bytes:.2}, requests {by_requests:.2})",
            threshold,
            bytes as f64 / MIB as f64,
            by_bytes.max(by_requests)
        );
    }
    Ok(())
}

/// The folder that an ext4 file system is filled with, and the size of the disk.
fn filled_with() -> (&'static str, u64) {
    size(("/usr/lib", 8 * GIB), (concat!(env!("CARGO_MANIFEST_DIR"), "/benches"), 64 * MIB))
}

/// Makes a fixed VHD with an ext4 file system. False where there is no mke2fs.
fn ext4(file: &Path) -> anyhow::Result<bool> {
    let (folder, disk) = filled_with();
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d", folder, &file.display().to_string(), &format!("{}m", disk / MIB)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        made => ensure!(made?.success(), "mke2fs failed"),
    }
    finish(file, disk)?;
    Ok(true)
}

/// Makes a fixed VHD of small files one after the other, in blocks of 4 KiB, with zeros in place of every third: the
/// sources of crates, since wherever this is built they are there.
fn trimmed(path: &Path) -> anyhow::Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let file = File::create(path)?;
    let mut folders = vec![home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src")];
    let (mut at, mut count) = (0, 0_u64);
    let most = size(u64::MAX, 16 * MIB);
    while let Some(folder) = folders.pop().filter(|_| at < most) {
        let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path())?;
                count += 1;
                if !count.is_multiple_of(3) {
                    file.write_all_at(&bytes, at)?;
                }
                at += (bytes.len() as u64).next_multiple_of(4096);
            }
        }
    }
    finish(path, at.next_multiple_of(MIB))
}

/// Makes a file the fixed VHD of a disk of `size` bytes.
fn finish(file: &Path, size: u64) -> anyhow::Result<()> {
    let footer = Footer::fixed_for(size, 1).to_bytes();
    Ok(OpenOptions::new().write(true).open(file)?.write_all_at(&footer, size)?)
}
