//! What is read from a VHD is what qemu-img put in.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;

use goldfleet_disk::chunk::{WindowBuffer, pack, read_window, windows};
use goldfleet_disk::vhd::{Disk, DiskType, Footer, GoldenSpec, same_disk};
use goldfleet_model::manifest::Generation;
use proptest::prelude::*;

use crate::images::{MIB, convert, golden, qemu_img};

/// A raw disk: sectors it has, and stretches of sectors that a byte fills (0 among them: written zeros).
#[derive(Debug, Clone)]
struct Raw {
    sectors: usize,
    stretches: Vec<(usize, usize, u8)>,
}

impl Raw {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.sectors * 512];
        for &(start, count, byte) in &self.stretches {
            let (from, to) = ((start * 512).min(bytes.len()), ((start + count) * 512).min(bytes.len()));
            bytes[from..to].fill(byte);
        }
        bytes
    }

    /// Writes it as a sparse file.
    fn write(&self, path: &Path) {
        let (file, bytes) = (File::create(path).unwrap(), self.bytes());
        file.set_len(bytes.len() as u64).unwrap();
        for &(start, count, _) in &self.stretches {
            let (from, to) = ((start * 512).min(bytes.len()), ((start + count) * 512).min(bytes.len()));
            file.write_all_at(&bytes[from..to], from as u64).unwrap();
        }
    }
}

/// Disks of up to 16 MiB, mostly not whole blocks, with data that is mostly not whole windows.
fn raws() -> impl Strategy<Value = Raw> {
    (1_usize..32_768).prop_flat_map(|sectors| {
        let stretch =
            (0..sectors, prop_oneof![1_usize..40, 1_usize..9000], prop_oneof![1 => Just(0), 5 => any::<u8>()]);
        prop::collection::vec(stretch, 0..8).prop_map(move |stretches| Raw { sectors, stretches })
    })
}

fn read_all(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xa5; usize::try_from(disk.size()).unwrap()];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The disk as a target would put it together: chunk by chunk, run by run, into zeros.
fn put_together(disk: &Disk) -> Vec<u8> {
    let mut buffer = WindowBuffer::default();
    let whole = put_together_with(disk, &mut buffer);
    assert!(put_together_with(disk, &mut buffer) == whole, "what a buffer held before is seen");
    whole
}

fn put_together_with(disk: &Disk, buffer: &mut WindowBuffer) -> Vec<u8> {
    let ranges = disk.data_ranges().unwrap();
    let mut whole = vec![0; usize::try_from(disk.size()).unwrap()];
    for window in windows(&ranges, disk.size()) {
        read_window(disk, &ranges, &window, buffer).unwrap();
        for run in pack(buffer, window.start).into_iter().flat_map(|chunk| chunk.runs) {
            let (to, from, length) = (usize::try_from(run.offset).unwrap(), run.at as usize, run.length as usize);
            whole[to..to + length].copy_from_slice(&buffer[from..from + length]);
        }
    }
    whole
}

/// A footer without what qemu-img makes anew each time: time, identity, and so the checksum.
fn lasting(footer: [u8; 512]) -> Vec<u8> {
    [&footer[..24], &footer[28..64], &footer[84..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fixed_and_dynamic_vhds_are_the_disk_they_were_made_from(
        raw in raws(),
        pieces in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (source, bytes) = (dir.path().join("disk.raw"), raw.bytes());
        raw.write(&source);
        let mut footers = Vec::new();
        for subformat in ["fixed", "dynamic"] {
            let path = dir.path().join(subformat);
            convert(&source, subformat, &path);
            let disk = Disk::open(&path).unwrap();
            prop_assert_eq!(disk.is_dynamic(), subformat == "dynamic");
            prop_assert_eq!(disk.size(), bytes.len() as u64);
            prop_assert!(read_all(&disk) == bytes, "{} as a whole", subformat);
            prop_assert!(put_together(&disk) == bytes, "{} by windows", subformat);
            for (start, length) in &pieces {
                let start = start.index(bytes.len());
                let length = length.index(bytes.len() - start);
                let mut piece = vec![0xa5; length];
                disk.read_at(start as u64, &mut piece).unwrap();
                prop_assert!(piece == bytes[start..start + length], "{subformat}: {length} bytes at {start}");
            }
            footers.push(lasting(disk.footer()));
        }
        prop_assert_eq!(&footers[0], &footers[1]);
    }
}

#[test]
fn a_dynamic_vhd_is_the_fixed_one_that_qemu_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let [raw, dynamic, copy] = ["raw", "dynamic", "copy"].map(|name| dir.path().join(name));
    golden(&raw, 40 * MIB, Generation::V2);
    File::options().write(true).open(&raw).unwrap().set_len(40 * MIB).unwrap();
    convert(&raw, "dynamic", &dynamic);
    let disk = Disk::open(&dynamic).unwrap();
    fs::write(&copy, [fs::read(&raw).unwrap(), disk.footer().to_vec()].concat()).unwrap();
    assert_eq!(same_disk(&disk, &copy).unwrap(), None);
    let footer = Footer::parse(&disk.footer()).unwrap();
    assert_eq!((footer.disk_type(), footer.size(), footer.data_offset()), (DiskType::Fixed, 40 * MIB, u64::MAX));
    // And qemu-img, reading the copy, agrees.
    let [format, raw, copy] = ["vpc".as_ref(), raw.as_os_str(), copy.as_os_str()];
    qemu_img(["compare".as_ref(), "-f".as_ref(), "raw".as_ref(), "-F".as_ref(), format, raw, copy]);
}

#[test]
fn threads_may_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let [raw, dynamic] = ["raw", "dynamic"].map(|name| dir.path().join(name));
    golden(&raw, 20 * MIB, Generation::V1);
    convert(&raw, "dynamic", &dynamic);
    for path in [&raw, &dynamic] {
        let disk = Disk::open(path).unwrap();
        let expected = read_all(&disk);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(put_together(&disk) == expected));
            }
        });
    }
}

#[test]
fn holes_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.vhd");
    let spec = GoldenSpec::spread(1 << 40, Generation::V2, 8 * MIB, 8, 3);
    spec.write(&path).unwrap();
    let disk = Disk::open(&path).unwrap();
    let ranges = disk.data_ranges().unwrap();
    let mut buffer = WindowBuffer::default();
    let read: u64 = windows(&ranges, disk.size()).map(|w| read_window(&disk, &ranges, &w, &mut buffer).unwrap()).sum();
    // Data, both copies of the partition table, and what the file system adds to each by its blocks.
    assert!((8 * MIB..9 * MIB).contains(&read), "{read} bytes were read");
}

#[test]
fn nothing_is_read_behind_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let [raw, dynamic] = ["raw", "dynamic"].map(|name| dir.path().join(name));
    golden(&raw, 20 * MIB, Generation::V1);
    convert(&raw, "dynamic", &dynamic);
    for path in [&raw, &dynamic] {
        let disk = Disk::open(path).unwrap();
        assert!(disk.read_at(disk.size() - 512, &mut [0; 512]).is_ok());
        assert!(disk.read_at(disk.size() - 511, &mut [0; 512]).is_err());
        assert!(disk.read_at(u64::MAX, &mut [0; 512]).is_err());
    }
}

#[test]
fn impossible_golden_disks_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spec = |size, extents| GoldenSpec { size, generation: Generation::V2, extents, seed: 1 };
    let specs = [
        spec(0, vec![]),
        spec(8 * MIB + 512, vec![]),
        spec(8 * MIB, vec![(0, 512)]),
        spec(8 * MIB, vec![(4 * MIB, 100)]),
        spec(8 * MIB, vec![(6 * MIB, 512)]),
        spec(8 * MIB, vec![(u64::MAX - 511, 1024)]),
    ];
    for spec in specs {
        assert!(spec.write(&dir.path().join("golden.vhd")).is_err(), "{spec:?}");
    }
    assert!(GoldenSpec::spread(8 * MIB, Generation::V1, 0, 0, 1).write(&dir.path().join("golden.vhd")).is_ok());
}

#[test]
fn a_comparison_sees_every_difference() {
    let folder = tempfile::tempdir().unwrap();
    let [original, copy] = ["original", "copy"].map(|name| folder.path().join(name));
    golden(&original, 24 * MIB, Generation::V2);
    let disk = Disk::open(&original).unwrap();
    let with = |offset: u64, byte: u8| {
        fs::copy(&original, &copy).unwrap();
        File::options().write(true).open(&copy).unwrap().write_all_at(&[byte], offset).unwrap();
        same_disk(&disk, &copy).unwrap()
    };
    fs::copy(&original, &copy).unwrap();
    assert_eq!(same_disk(&disk, &copy).unwrap(), None);
    assert_eq!(with(1_000, 9), Some(1_000), "in the partition table");
    assert_eq!(with(20 * MIB + 77, 1), Some(20 * MIB + 77), "in a hole");
    assert_eq!(with(20 * MIB + 77, 0), None, "a zero that is written is no difference");
    assert_eq!(with(24 * MIB + 100, 9), Some(24 * MIB), "in the footer");
    File::options().write(true).open(&copy).unwrap().set_len(24 * MIB).unwrap();
    assert_eq!(same_disk(&disk, &copy).unwrap(), Some(24 * MIB), "without a footer");
}
