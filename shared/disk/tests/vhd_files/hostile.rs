//! Dynamic VHDs that are wrong, by accident or on purpose: refused or read, but never a panic nor memory without end.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use goldfleet_disk::vhd::Disk;
use proptest::prelude::*;

use crate::images::{Dynamic, seal};

const ALL: [u8; 2] = [0xff, 0xff];

fn open(bytes: &[u8]) -> Result<Disk, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.vhd");
    fs::write(&path, bytes).unwrap();
    Disk::open(&path).map_err(|error| error.to_string())
}

#[test]
fn sectors_that_were_never_written_are_zero() {
    // Of block 1 the sectors 0, 3 and 15 were written.
    let disk = open(&Dynamic::new(3, &[(2, ALL, 9), (1, [0b1001_0000, 0b0000_0001], 5)]).bytes()).unwrap();
    let mut bytes = vec![0xa5; 3 * Dynamic::BLOCK];
    disk.read_at(0, &mut bytes).unwrap();
    let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
    assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
    let expected = [[0; 16], [5, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], [9; 16]].concat();
    assert_eq!(sectors, expected);
    let block = Dynamic::BLOCK as u64;
    assert!(disk.data_ranges().unwrap().into_iter().eq(std::iter::once(block..3 * block)));
    // A read that begins and ends inside sectors.
    let mut piece = vec![0xa5; 1300];
    disk.read_at(Dynamic::BLOCK as u64 + 300, &mut piece).unwrap();
    assert!(piece == bytes[Dynamic::BLOCK + 300..Dynamic::BLOCK + 1600]);
}

#[test]
fn wrong_structures_are_refused() {
    let good = Dynamic::new(4, &[(0, ALL, 1), (2, ALL, 2)]);
    assert!(open(&good.bytes()).is_ok());
    let wrong = |change: &dyn Fn(&mut Dynamic)| {
        let mut image = good.clone();
        change(&mut image);
        image.bytes()
    };
    let field = |at: usize, value: &'static [u8]| {
        wrong(&move |image| image.header[at..at + value.len()].copy_from_slice(value))
    };
    let size = |size: u64| wrong(&move |image| image.footer[48..56].copy_from_slice(&size.to_be_bytes()));
    let place = |block: usize, sector: u32| wrong(&move |image| image.table[block] = sector);
    let second = good.table[2];
    let cases = [
        ("header far away", wrong(&|image| image.footer[16..24].fill(0xff))),
        ("header behind the file", wrong(&|image| image.footer[16..24].copy_from_slice(&(1_u64 << 40).to_be_bytes()))),
        ("header cookie", field(0, b"cxsparsf")),
        ("header checksum", {
            let mut bytes = good.bytes();
            bytes[512 + 100] ^= 1;
            bytes
        }),
        ("table far away", field(16, &[0xff; 8])),
        ("table behind the file", field(16, &[0, 0, 1, 0, 0, 0, 0, 0])),
        ("table upon the header", field(16, &[0, 0, 0, 0, 0, 0, 2, 0])),
        ("too few entries", field(28, &[0, 0, 0, 3])),
        ("blocks of no bytes", field(32, &[0, 0, 0, 0])),
        ("blocks of 3 sectors", field(32, &[0, 0, 6, 0])),
        ("blocks of 2 GiB", field(32, &[0x80, 0, 0, 0])),
        ("size of 2^64 - 1", size(u64::MAX)),
        ("size of one block more", size(5 * Dynamic::BLOCK as u64)),
        ("block behind the file", place(2, u32::MAX - 1)),
        ("block upon the footer", place(2, second + 1)),
        ("block upon another", place(1, second)),
        ("block half upon another", place(2, second - 1)),
        ("block upon the header", place(1, 0)),
        ("no end", good.bytes()[..3000].to_vec()),
        ("only a footer", good.bytes()[..512].to_vec()),
        ("511 bytes", good.bytes()[..511].to_vec()),
    ];
    let mut messages = String::new();
    for (name, bytes) in cases {
        let error = open(&bytes).expect_err(name);
        messages += &format!("{name}: {error}\n");
    }
    insta::assert_snapshot!(messages);
}

/// Header and footer claim 2^32 - 1 blocks, and a sparse file of 16 GiB has room for their table.
#[test]
fn a_huge_table_is_refused_before_it_is_read() {
    let mut image = Dynamic::new(4, &[]);
    image.header[28..32].fill(0xff);
    image.header[32..36].copy_from_slice(&4096_u32.to_be_bytes());
    image.footer[48..56].copy_from_slice(&(u64::from(u32::MAX) * 4096).to_be_bytes());
    let bytes = image.bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.vhd");
    let (file, length) = (File::create(&path).unwrap(), 17_u64 << 30);
    file.set_len(length).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file.write_all_at(&bytes[bytes.len() - 512..], length - 512).unwrap();
    let error = Disk::open(&path).unwrap_err().to_string();
    assert_eq!(error, "the disk has 4294967295 blocks, more than the 8388608 that a VHD can need");
}

proptest! {
    /// Checksums are made right again, or every change would end there.
    #[test]
    fn changed_structures_never_panic(
        changes in prop::collection::vec((0_usize..1536 + 64, any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = Dynamic::new(6, &[(0, ALL, 1), (3, [0xf0, 0x0f], 2), (5, ALL, 3)]).bytes();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        seal(&mut bytes[..512], 64..68);
        seal(&mut bytes[512..1536], 36..40);
        let (head, end) = (bytes[..512].to_vec(), bytes.len() - 512);
        bytes[end..].copy_from_slice(&head);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(disk) = open(&bytes) {
            for range in disk.data_ranges().unwrap() {
                let mut buffer = vec![0; usize::try_from((range.end - range.start).min(1 << 20)).unwrap()];
                prop_assert!(disk.read_at(range.start, &mut buffer).is_ok());
            }
        }
    }
}
