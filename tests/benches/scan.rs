//! What reading a disk costs, and what leaving zeros out saves: `cargo bench -p goldfleet-tests --bench scan`.
//!
//! All files are made here and lie in the page cache, so that the processor is measured and not the disk. What is compared
//! is measured in turns, and medians are printed, since other programs may share the machine. It takes about half a minute
//! and 4 GiB below `target/`, removed at the end. `docs/vhd.md` has the figures that choices were made by.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a program that prints figures")]

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use goldfleet_shared::chunk::{ZERO_RUN_THRESHOLD, crc64, is_zero, pack, pack_with, read_window, windows};
use goldfleet_shared::model::manifest::Generation;
use goldfleet_shared::vhd::{Disk, Footer, GoldenSpec};
use sha2::Digest as _;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How often each thing is measured.
const TURNS: usize = 7;

/// What a page blob takes: bytes and requests a second (Azure's documented limits).
const BLOB_BYTES: f64 = 60.0 * MIB as f64;
const BLOB_REQUESTS: f64 = 500.0;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("scan").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    stages()?;
    let dense = folder.path().join("dense.vhd");
    golden(&dense, GIB + 4 * MIB, 1)?;
    against_dd(&dense)?;
    let sparse = folder.path().join("sparse.vhd");
    golden(&sparse, 1 << 40, 1024)?;
    sparse_against_dense(&sparse, &dense)?;
    from_the_disk(&sparse, &dense)?;
    fs::remove_file(dense)?;
    fs::remove_file(sparse)?;
    thresholds(folder.path())
}

/// A disk with 1 GiB of random data in so many pieces.
fn golden(path: &Path, size: u64, pieces: u64) -> anyhow::Result<()> {
    GoldenSpec::spread(size, Generation::V2, GIB, pieces, 1).write(path)?;
    // Or writing it back would go on while something is measured.
    File::open(path)?.sync_all()?;
    Ok(())
}

/// One thing to be measured.
type Work<'a> = Box<dyn FnMut() -> anyhow::Result<()> + 'a>;

/// Measures all in turns; the median of each. The first turn only warms up.
fn medians<const N: usize>(mut works: [Work<'_>; N]) -> anyhow::Result<[Duration; N]> {
    let mut times = [const { Vec::new() }; N];
    for turn in 0..=TURNS {
        for (work, times) in works.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            work()?;
            if turn > 0 {
                times.push(begin.elapsed());
            }
        }
    }
    Ok(times.map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    }))
}

fn rate(bytes: u64, time: Duration) -> String {
    format!("{:.2} GiB/s", bytes as f64 / GIB as f64 / time.as_secs_f64())
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// A figure with the limit that issue and documentation promise.
fn promise(text: &str, figure: f64, met: bool, limit: &str) {
    println!("  {text}: {figure:.2} ({limit}: {})", if met { "met" } else { "MISSED" });
}

/// The parts of the pipeline, each alone.
fn stages() -> anyhow::Result<()> {
    const LENGTH: usize = 4 << 20;
    const TIMES: usize = 16;
    // A sector's worth of zeros nowhere, so that nothing is left out.
    let data: Vec<u8> = (0..LENGTH as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[1]).collect();
    let zeros = vec![0; LENGTH];
    fn repeat<'a, T>(work: impl Fn() -> T + 'a) -> Work<'a> {
        Box::new(move || {
            (0..TIMES).for_each(|_| drop(black_box(work())));
            Ok(())
        })
    }
    let names = ["zero scan", "CRC-64/NVME", "BLAKE3", "SHA-256"];
    let times = medians([
        repeat(|| is_zero(black_box(&zeros))),
        repeat(|| crc64(black_box(&data))),
        repeat(|| blake3::hash(black_box(&data))),
        repeat(|| sha2::Sha256::digest(black_box(&data))),
    ])?;
    println!("one core, 4 MiB in cache");
    for (name, time) in names.iter().zip(times) {
        println!("  {name:<11} {}", rate((LENGTH * TIMES) as u64, time));
    }
    println!("  BLAKE3 is {:.2} times as fast as SHA-256", ratio(times[3], times[2]));
    Ok(())
}

/// Reads all data of a disk on one thread; if asked, finds its chunks. Returns the bytes of all chunks, or read.
fn scan(path: &Path, chunks: bool) -> anyhow::Result<u64> {
    let disk = Disk::open(path)?;
    let ranges = disk.data_ranges()?;
    let (mut buffer, mut bytes) = (Vec::new(), 0);
    for window in windows(&ranges, disk.size()) {
        let read = read_window(&disk, &ranges, &window, &mut buffer)?;
        bytes += if chunks { pack(&mut buffer, window.start).map_or(0, |chunk| u64::from(chunk.length)) } else { read };
    }
    Ok(bytes)
}

/// [`scan`], for [`medians`]; the disk has 1 GiB of data.
fn scanning(path: &Path, chunks: bool) -> Work<'_> {
    Box::new(move || {
        let bytes = scan(path, chunks)?;
        ensure!(bytes >= GIB, "{} has less data than it was given: {bytes}", path.display());
        Ok(())
    })
}

/// `dd bs=4M of=/dev/null`.
fn dd(path: &Path) -> Work<'_> {
    Box::new(move || {
        let input = format!("if={}", path.display());
        let status = Command::new("dd").args([&input, "bs=4M", "of=/dev/null"]).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "dd failed");
        Ok(())
    })
}

fn against_dd(dense: &Path) -> anyhow::Result<()> {
    let [dd, read, all] = medians([dd(dense), scanning(dense, false), scanning(dense, true)])?;
    println!("1 GiB of random data, one thread, from the page cache");
    println!("  dd bs=4M                              {}", rate(GIB, dd));
    println!("  read by windows                       {}", rate(GIB, read));
    println!("  read, zero scan, BLAKE3 and CRC-64    {}", rate(GIB, all));
    let share = ratio(dd, all);
    promise("share of dd's rate", share, share >= 0.25, "at least 0.25");
    Ok(())
}

fn sparse_against_dense(sparse: &Path, dense: &Path) -> anyhow::Result<()> {
    let times = medians([scanning(sparse, true), scanning(dense, true), scanning(sparse, false), dd(dense)])?;
    let [scan_sparse, scan_dense, read_sparse, dd] = times;
    println!("1 TiB sparse with 1 GiB of data in 1,024 pieces, one thread, from the page cache");
    println!(
        "  scanned in {scan_sparse:.0?}; 1 GiB without holes is scanned in {scan_dense:.0?}, and read by dd in {dd:.0?}"
    );
    let holes = ratio(scan_sparse, scan_dense);
    promise("scan, to the scan of 1 GiB without holes", holes, holes < 2.0, "under 2");
    let reading = ratio(read_sparse, dd);
    promise("finding and reading the data, to dd of 1 GiB", reading, reading < 2.0, "under 2");
    let all = ratio(scan_sparse, dd);
    promise("scan with hash and checksums, to dd of 1 GiB", all, all < 2.0, "under 2");
    Ok(())
}

/// The same where nothing is in the page cache: reading waits for the disk, as it does with a fresh golden image.
fn from_the_disk(sparse: &Path, dense: &Path) -> anyhow::Result<()> {
    let cold = |path: &Path, work: &mut dyn FnMut() -> anyhow::Result<()>| -> anyhow::Result<Duration> {
        rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?;
        let begin = Instant::now();
        work()?;
        Ok(begin.elapsed())
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        times[0].push(cold(sparse, &mut scanning(sparse, true))?);
        times[1].push(cold(dense, &mut dd(dense))?);
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    let (scanned, read) = (times[0][1], times[1][1]);
    println!("the same from the disk: scanned in {scanned:.2?}; 1 GiB without holes is read by dd in {read:.2?}");
    promise("scan, to dd of 1 GiB", ratio(scanned, read), ratio(scanned, read) < 2.0, "under 2");
    Ok(())
}

/// What each threshold leaves of a disk with many small files: fresh, and where some of them were deleted.
fn thresholds(folder: &Path) -> anyhow::Result<()> {
    let tree = tree()?;
    match file_system(folder, &tree)? {
        Some(path) => table("on a fresh ext4 file system", &path)?,
        None => println!("thresholds on ext4: skipped, mke2fs is missing (on Debian: apt-get install e2fsprogs)"),
    }
    table("where every third of these files was deleted and trimmed", &trimmed(folder, &tree)?)
}

fn table(what: &str, path: &Path) -> anyhow::Result<()> {
    let disk = Disk::open(path)?;
    let ranges = disk.data_ranges()?;
    println!("thresholds, {what} (* is in use)");
    println!("  bytes      runs     MiB sent   s by bytes   s by requests   s of the slower   s of both");
    for threshold in [512, 4 << 10, 16 << 10, 64 << 10, 256 << 10] {
        let (mut buffer, mut runs, mut bytes) = (Vec::new(), 0, 0);
        for window in windows(&ranges, disk.size()) {
            read_window(&disk, &ranges, &window, &mut buffer)?;
            if let Some(chunk) = pack_with(&mut buffer, window.start, threshold) {
                runs += chunk.runs.len();
                bytes += u64::from(chunk.length);
            }
        }
        let (by_bytes, by_requests) = (bytes as f64 / BLOB_BYTES, runs as f64 / BLOB_REQUESTS);
        println!(
            "  {threshold:<7}{} {runs:>7} {:>12.1} {by_bytes:>12.2} {by_requests:>15.2} {:>17.2} {:>11.2}",
            if threshold == ZERO_RUN_THRESHOLD { "*" } else { " " },
            bytes as f64 / MIB as f64,
            by_bytes.max(by_requests),
            by_bytes + by_requests,
        );
    }
    Ok(())
}

/// A tree of files to fill disks with: the sources of crates, or documentation.
fn tree() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut candidates = home.map(|home| home.join("registry/src")).into_iter().chain(["/usr/share/doc".into()]);
    candidates.find(|tree| tree.is_dir()).context("there is no tree of files to fill a disk with")
}

/// A fixed VHD with an ext4 file system that holds the tree; none without mke2fs.
fn file_system(folder: &Path, tree: &Path) -> anyhow::Result<Option<PathBuf>> {
    const SIZE: u64 = 2 * GIB;
    let path = folder.join("ext4.vhd");
    File::create(&path)?.set_len(SIZE)?;
    let mke2fs = ["mke2fs", "/sbin/mke2fs"].iter().find_map(|program| {
        let mut command = Command::new(program);
        command.args(["-q", "-F", "-t", "ext4", "-d"]).arg(tree).arg(&path).status().ok()
    });
    let Some(status) = mke2fs else { return Ok(None) };
    ensure!(status.success(), "mke2fs failed on {}", tree.display());
    seal(&path, SIZE)?;
    Ok(Some(path))
}

/// A fixed VHD with the tree's files one after the other, in blocks of 4 KiB, and zeros in place of every third of them.
fn trimmed(folder: &Path, tree: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("trimmed.vhd");
    let file = File::create(&path)?;
    let (mut folders, mut at, mut count) = (vec![tree.to_owned()], 0, 0_u64);
    while let Some(folder) = folders.pop() {
        let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path())?;
                count += 1;
                if !count.is_multiple_of(3) {
                    file.write_all_at(&bytes, at)?;
                }
                at += (bytes.len() as u64).next_multiple_of(4096);
            }
        }
    }
    seal(&path, at.next_multiple_of(MIB))?;
    Ok(path)
}

/// Makes a file a fixed VHD of `size` bytes.
fn seal(path: &Path, size: u64) -> anyhow::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.write_all_at(&Footer::fixed_for(size, 1).to_bytes(), size)?;
    Ok(file.sync_all()?)
}
