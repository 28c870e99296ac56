//! Random layouts of all formats are read byte for byte.
//!
//! Each case has a seed, which its failure names. `GOLDFLEET_LAYOUTS=2000` runs as many cases (`tests/long.sh` does);
//! by default a tenth of that. `GOLDFLEET_LAYOUT=17` runs one case alone. If `GOLDFLEET_DELIVER` names the program
//! `goldfleet`, each image is also uploaded, and compared at two targets; the disks are then 20 MiB larger, because
//! Azure accepts no smaller ones.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use common::qemu::{self, text};
use common::{KIB, MIB, Rng, content, deliver, vhd, vhdx};
use goldfleet_disk::{
    AzureDisk, ConvertOptions, DataRanges, DiskReader, FileDisk, Format, MemoryDisk, OpenDisk, OpenOptions,
    StatedFormat, convert, first_difference, open,
};

/// The default number of cases.
const DEFAULT_CASES: u64 = 200;

#[test]
fn random_layouts_are_read_byte_for_byte() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let cases = match number("GOLDFLEET_LAYOUT") {
        Some(case) => case..case + 1,
        None => 0..number("GOLDFLEET_LAYOUTS").unwrap_or(DEFAULT_CASES),
    };
    let (count, begin) = (cases.end - cases.start, Instant::now());
    for case in cases {
        let folder = tempfile::tempdir().unwrap();
        let kind = usize::try_from(case).unwrap() % KINDS.len();
        let (name, make) = KINDS[kind];
        let result = std::panic::catch_unwind(|| {
            let mut rng = Rng(case);
            let made = make(&mut rng, folder.path());
            verify(&made, &mut rng, folder.path());
        });
        assert!(result.is_ok(), "case {case} ({name}) failed: run it alone with GOLDFLEET_LAYOUT={case}");
    }
    println!("{count} layouts in {:?}, {} KiB at most", begin.elapsed(), common::peak_memory_kib());
}

/// An image, the options that it needs, and the disk that it holds.
struct Made {
    image: PathBuf,
    options: OpenOptions,
    expected: Vec<u8>,
    format: Format,
}

type Maker = fn(&mut Rng, &Path) -> Made;

const KINDS: &[(&str, Maker)] = &[
    ("dynamic VHD", dynamic_vhd),
    ("differencing VHD", differencing_vhd),
    ("VHD by qemu-img", qemu_vhd),
    ("VHDX", own_vhdx),
    ("differencing VHDX", differencing_vhdx),
    ("VHDX by qemu-img", qemu_vhdx),
    ("qcow2", qcow2),
    ("qcow2, written in pieces", qcow2_in_pieces),
    ("qcow2, compressed", qcow2_compressed),
    ("VMDK", vmdk),
    ("VMDK, written in pieces", vmdk_in_pieces),
    ("raw", raw),
    ("compressed stream", compressed),
];

/// Sizes of whole sectors; one in three has whole MiB.
fn random_size(rng: &mut Rng, unit: usize) -> usize {
    let least = if deliver::program().is_some() { deliver::MIN_DISK } else { 0 };
    let size = (least + rng.below(12 * MIB) + 1).next_multiple_of(unit);
    if rng.chance(33) { size.next_multiple_of(MIB) } else { size }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn made(image: PathBuf, expected: Vec<u8>, format: Format) -> Made {
    Made { image, options: OpenOptions::default(), expected, format }
}

fn dynamic_vhd(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let expected = content(rng, size);
    let file = vhd::Dynamic::random(rng).write(&expected, rng);
    made(write(folder, "a.vhd", &file), expected, Format::DynamicVhd)
}

/// The child's content: the parent's with changes, and perhaps of another size.
fn changed(rng: &mut Rng, parent: &[u8], unit: usize) -> Vec<u8> {
    let mut child = parent.to_vec();
    if rng.chance(30) {
        child.resize(random_size(rng, unit), 0);
    }
    for _ in 0..rng.below(8) {
        let start = rng.below(child.len() / 512) * 512;
        let end = (start + rng.below(100 * KIB)).min(child.len());
        if rng.chance(50) { rng.fill(&mut child[start..end]) } else { child[start..end].fill(0) }
    }
    child
}

fn differencing_vhd(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let base = content(rng, size);
    let mut middle = changed(rng, &base, 512);
    let mut spec = vhd::Dynamic::random(rng);
    (spec.id, spec.parent) = ([1; 16], None);
    let base_file = write(folder, "base.vhd", &spec.write(&base, rng));
    let mut spec = vhd::Dynamic::random(rng);
    (spec.id, spec.parent) = ([2; 16], Some(([1; 16], base)));
    let middle_file = write(folder, "middle.vhd", &spec.write(&middle, rng));
    let mut parents = vec![middle_file.clone(), base_file];
    let mut image = middle_file;
    if rng.chance(50) {
        let child = changed(rng, &middle, 512);
        let mut spec = vhd::Dynamic::random(rng);
        (spec.id, spec.parent) = ([3; 16], Some(([2; 16], middle)));
        image = write(folder, "child.vhd", &spec.write(&child, rng));
        middle = child;
        if rng.chance(50) {
            parents.reverse();
        }
    } else {
        parents.remove(0);
    }
    let options = OpenOptions { parents, ..OpenOptions::default() };
    Made { image, options, expected: middle, format: Format::DifferencingVhd }
}

fn qemu_vhd(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let expected = content(rng, size);
    let raw = write(folder, "a.raw", &expected);
    let image = folder.join("a.vhd");
    let (kind, format) = rng.pick(&[("dynamic", Format::DynamicVhd), ("fixed", Format::FixedVhd)]);
    qemu::convert(&raw, "vpc", &format!("subformat={kind},force_size"), &image, &[]);
    made(image, expected, format)
}

fn own_vhdx(rng: &mut Rng, folder: &Path) -> Made {
    let spec = vhdx::Vhdx::random(rng);
    let size = random_size(rng, spec.sector);
    let expected = content(rng, size);
    made(write(folder, "a.vhdx", &spec.write(&expected, rng)), expected, Format::Vhdx)
}

fn differencing_vhdx(rng: &mut Rng, folder: &Path) -> Made {
    let sector = rng.pick(&[512, 4096]);
    let size = random_size(rng, sector);
    let parent = content(rng, size);
    let child = changed(rng, &parent, sector);
    let parent_spec = vhdx::Vhdx { sector, ..vhdx::Vhdx::random(rng) };
    let parent_file = write(folder, "parent.vhdx", &parent_spec.write(&parent, rng));
    let spec = vhdx::Vhdx {
        sector,
        id: [8; 16],
        parent: Some((parent_spec.id_text().to_uppercase(), parent)),
        ..vhdx::Vhdx::random(rng)
    };
    let image = write(folder, "child.vhdx", &spec.write(&child, rng));
    let options = OpenOptions { parents: vec![parent_file], ..OpenOptions::default() };
    Made { image, options, expected: child, format: Format::DifferencingVhdx }
}

fn qemu_vhdx(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let expected = content(rng, size);
    let raw = write(folder, "a.raw", &expected);
    let image = folder.join("a.vhdx");
    let options = format!(
        "subformat={},block_size={},block_state_zero={}",
        rng.pick(&["dynamic", "fixed"]),
        rng.pick(&[1, 2, 8]) * MIB,
        rng.pick(&["on", "off"])
    );
    qemu::convert(&raw, "vhdx", &options, &image, &[]);
    made(image, expected, Format::Vhdx)
}

/// Random options of qcow2.
fn qcow2_options(rng: &mut Rng) -> String {
    let extended = rng.chance(25);
    let cluster =
        if extended { rng.pick(&[16, 64, 2048]) * KIB } else { rng.pick(&[512, 4 * KIB, 64 * KIB, 64 * KIB, 2 * MIB]) };
    let mut options = format!("cluster_size={cluster}");
    if extended {
        options += ",extended_l2=on";
    } else if rng.chance(20) {
        options += ",compat=0.10";
    } else if rng.chance(30) {
        options += ",compression_type=zstd";
    }
    options
}

/// The same, also with clusters that are allocated in advance.
fn qcow2_options_preallocated(rng: &mut Rng) -> String {
    let options = qcow2_options(rng);
    if rng.chance(15) {
        return options + rng.pick(&[",preallocation=metadata", ",preallocation=falloc"]);
    }
    options
}

fn qcow2(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let expected = content(rng, size);
    let raw = write(folder, "a.raw", &expected);
    let image = folder.join("a.qcow2");
    qemu::convert(&raw, "qcow2", &qcow2_options_preallocated(rng), &image, &[]);
    made(image, expected, Format::Qcow2)
}

/// Writes, zeroes and discards in random order, so that tables and data are fragmented.
fn write_in_pieces(rng: &mut Rng, image: &Path, format: &str, size: usize, discards: bool) {
    let mut commands = Vec::new();
    for _ in 0..5 + rng.below(25) {
        let at = rng.below(size / 512) * 512;
        let length = ((rng.below(200 * KIB) / 512 + 1) * 512).min(size - at);
        let command = match rng.below(if discards { 10 } else { 7 }) {
            7 => format!("write -z {at} {length}"),
            8 => format!("write -z -u {at} {length}"),
            9 => format!("discard {at} {length}"),
            _ => format!("write -P {} {at} {length}", rng.below(255) + 1),
        };
        commands.extend(["-c".to_owned(), command]);
    }
    let mut arguments = vec!["-f", format];
    arguments.extend(commands.iter().map(String::as_str));
    arguments.push(text(image));
    qemu::run("qemu-io", &arguments);
}

fn qcow2_in_pieces(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let image = folder.join("a.qcow2");
    let options = qcow2_options_preallocated(rng);
    qemu::run("qemu-img", &["create", "-f", "qcow2", "-o", &options, text(&image), &size.to_string()]);
    write_in_pieces(rng, &image, "qcow2", size, true);
    if rng.chance(30) {
        // A snapshot leaves clusters that are not part of the disk.
        qemu::run("qemu-img", &["snapshot", "-c", "one", text(&image)]);
        write_in_pieces(rng, &image, "qcow2", size, true);
    }
    let expected = qemu::raw(&image, "qcow2", folder);
    made(image, expected, Format::Qcow2)
}

fn qcow2_compressed(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let mut expected = content(rng, size);
    let raw = write(folder, "a.raw", &expected);
    let image = folder.join("a.qcow2");
    qemu::convert(&raw, "qcow2", &qcow2_options(rng), &image, &["-c"]);
    if rng.chance(40) {
        write_in_pieces(rng, &image, "qcow2", size, true);
        expected = qemu::raw(&image, "qcow2", folder);
    }
    made(image, expected, Format::Qcow2)
}

const VMDK_FORMS: &[&str] =
    &["monolithicSparse", "streamOptimized", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"];

fn vmdk(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let expected = content(rng, size);
    let raw = write(folder, "a.raw", &expected);
    let image = folder.join("a disk.vmdk");
    qemu::convert(&raw, "vmdk", &format!("subformat={}", rng.pick(VMDK_FORMS)), &image, &[]);
    made(image, expected, Format::Vmdk)
}

fn vmdk_in_pieces(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let image = folder.join("a.vmdk");
    let options = rng.pick(&["subformat=monolithicSparse", "subformat=monolithicSparse,zeroed_grain=on"]);
    qemu::run("qemu-img", &["create", "-f", "vmdk", "-o", options, text(&image), &size.to_string()]);
    write_in_pieces(rng, &image, "vmdk", size, options.ends_with("on"));
    let expected = qemu::raw(&image, "vmdk", folder);
    made(image, expected, Format::Vmdk)
}

fn raw(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 1);
    let expected = content(rng, size);
    let options = OpenOptions { format: Some(StatedFormat::Raw), ..OpenOptions::default() };
    Made { image: write(folder, "a.raw", &expected), options, expected, format: Format::Raw }
}

fn compressed(rng: &mut Rng, folder: &Path) -> Made {
    let size = random_size(rng, 512);
    let expected = content(rng, size);
    let is_vhd = rng.chance(50);
    let mut file = expected.clone();
    if is_vhd {
        file.extend(vhd::FooterSpec::fixed(size as u64).bytes());
    }
    // Some streams have several parts, as parallel compressors write them.
    let cut = if rng.chance(40) { rng.below(file.len()) } else { file.len() };
    let program = rng.pick(&["gzip", "xz", "zstd", "bzip2"]);
    let level = if program == "xz" || program == "bzip2" { "-1" } else { rng.pick(&["-1", "-6"]) };
    let mut stream = Vec::new();
    for part in [&file[..cut], &file[cut..]].into_iter().filter(|part| !part.is_empty()) {
        let path = write(folder, "part", part);
        qemu::run(program, &["-k", "-f", level, text(&path)]);
        let suffix = match program {
            "gzip" => "gz",
            "zstd" => "zst",
            "bzip2" => "bz2",
            other => other,
        };
        stream.extend(std::fs::read(folder.join(format!("part.{suffix}"))).unwrap());
    }
    let format = if is_vhd { Format::FixedVhd } else { Format::Raw };
    let stated = if is_vhd { StatedFormat::Vhd } else { StatedFormat::Raw };
    let options = OpenOptions { format: Some(stated), ..OpenOptions::default() };
    Made { image: write(folder, "a.stream", &stream), options, expected, format }
}

/// Reads the image in several ways, and compares it with the expected disk.
fn verify(made: &Made, rng: &mut Rng, folder: &Path) {
    let open = open(&made.image, &made.options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(open.format, made.format);
    let expected = MemoryDisk(made.expected.clone());
    assert_eq!(open.disk.size(), expected.size());
    let all = first_difference(&Whole(&open), &expected, expected.size()).unwrap();
    assert_eq!(all, None, "the disk differs");
    check_ranges(&*open.disk, &made.expected);
    if !open.sequential {
        for _ in 0..20 {
            let start = rng.below(made.expected.len());
            let length = rng.below(3 * MIB).min(made.expected.len() - start);
            let mut buffer = vec![0xaa; length];
            open.disk.read_at(start as u64, &mut buffer).unwrap();
            assert!(buffer == made.expected[start..start + length], "{length} bytes at {start} differ");
        }
    }
    converted(&open, &made.expected, folder);
    if let Some(goldfleet) = deliver::program() {
        let azure = AzureDisk::new(&open, false).unwrap();
        deliver::deliver(&goldfleet, &made.image, &made.options, &azure, folder);
    }
}

/// A disk of which every byte counts as data, so that holes are compared, too.
#[derive(Debug)]
struct Whole<'a>(&'a OpenDisk);

impl DiskReader for Whole<'_> {
    fn size(&self) -> u64 {
        self.0.disk.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), goldfleet_disk::DiskError> {
        self.0.disk.read_at(offset, buffer)
    }
    fn next_data(&self, offset: u64) -> Result<Option<std::ops::Range<u64>>, goldfleet_disk::DiskError> {
        Ok((offset < self.size()).then(|| offset..self.size()))
    }
}

/// Ranges are in order and inside the disk, and everything outside of them is zero.
fn check_ranges(disk: &dyn DiskReader, expected: &[u8]) {
    let index = |offset: u64| usize::try_from(offset).unwrap();
    let mut end = 0;
    for range in DataRanges::new(disk) {
        let range = range.unwrap();
        assert!(range.start >= end && range.start < range.end && range.end <= disk.size(), "{range:?} after {end}");
        assert!(expected[index(end)..index(range.start)].iter().all(|&byte| byte == 0), "data before {range:?}");
        end = range.end;
    }
    assert!(expected[index(end)..].iter().all(|&byte| byte == 0), "data behind the last range");
}

/// The fixed VHD holds the disk, zeros up to a whole MiB, and a valid footer.
fn converted(open: &OpenDisk, expected: &[u8], folder: &Path) {
    let azure = AzureDisk::new(open, false).unwrap();
    let output = folder.join("out.vhd");
    convert(
        &azure,
        &output,
        &ConvertOptions { no_sync: true, ..ConvertOptions::default() },
        &|_, _| {},
        &AtomicBool::new(false),
    )
    .unwrap();
    let mut wanted = expected.to_vec();
    wanted.resize(wanted.len().next_multiple_of(MIB), 0);
    let file: Arc<dyn DiskReader> = Arc::new(FileDisk::new(std::fs::File::open(&output).unwrap()).unwrap());
    assert_eq!(file.size(), wanted.len() as u64 + 512);
    assert_eq!(first_difference(&file, &MemoryDisk(wanted.clone()), wanted.len() as u64).unwrap(), None);
    assert_eq!(goldfleet_disk::same_disk(&azure, &output).unwrap(), None);
    let again = AzureDisk::open(&output).unwrap();
    assert_eq!((again.size(), again.footer()), (wanted.len() as u64, azure.footer()));
}
