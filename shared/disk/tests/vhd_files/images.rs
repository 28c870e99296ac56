//! Images to test with.

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use goldfleet_disk::vhd::{FOOTER_SIZE, Footer, GoldenSpec};
use goldfleet_model::manifest::Generation;

pub(crate) const MIB: u64 = 1 << 20;

/// Runs qemu-img. Without it these tests prove nothing, so they fail.
pub(crate) fn qemu_img<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) {
    let output = Command::new("qemu-img").args(arguments).output().unwrap_or_else(|error| {
        panic!("these tests need qemu-img, and it can't be run: {error}; on Debian: apt-get install qemu-utils")
    });
    assert!(output.status.success(), "qemu-img failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// Has qemu-img make a VHD of a raw image.
pub(crate) fn convert(raw: &Path, subformat: &str, vhd: &Path) {
    let options = format!("subformat={subformat},force_size=on");
    let (raw, vhd) = (raw.as_os_str(), vhd.as_os_str());
    qemu_img(
        [OsStr::new("convert"), "-f".as_ref(), "raw".as_ref(), "-O".as_ref(), "vpc".as_ref(), "-o".as_ref()]
            .into_iter()
            .chain([OsStr::new(&options), raw, vhd]),
    );
}

/// A golden VHD with a MiB of data.
pub(crate) fn golden(path: &Path, size: u64, generation: Generation) {
    GoldenSpec::spread(size, generation, MIB, 4, 1).write(path).unwrap();
}

/// Changes a file's bytes.
pub(crate) fn patch(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Writes the checksum of a footer or dynamic header anew: the ones' complement of the sum of all other bytes.
pub(crate) fn seal(bytes: &mut [u8], field: Range<usize>) {
    bytes[field.clone()].fill(0);
    let sum = bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    bytes[field].copy_from_slice(&(!sum).to_be_bytes());
}

/// Changes a VHD's footer, whose checksum stays right.
pub(crate) fn patch_footer(path: &Path, change: impl FnOnce(&mut [u8])) {
    patch(path, |bytes| {
        let at = bytes.len() - FOOTER_SIZE;
        change(&mut bytes[at..]);
        seal(&mut bytes[at..], 64..68);
    });
}

/// A dynamic VHD, piece by piece, so that each may be wrong: footer, header, table, blocks, footer.
#[derive(Clone, Debug)]
pub(crate) struct Dynamic {
    pub(crate) footer: [u8; FOOTER_SIZE],
    pub(crate) header: Vec<u8>,
    pub(crate) table: Vec<u32>,
    /// Bitmap and data of each block that the table places, in this order in the file.
    pub(crate) blocks: Vec<u8>,
}

impl Dynamic {
    pub(crate) const BLOCK: usize = 8192;
    const HEADER_AT: u64 = 512;
    const TABLE_AT: usize = 1536;

    /// A disk of `count` blocks of which those in `written` (number, bitmap, byte that fills it) are there.
    pub(crate) fn new(count: usize, written: &[(usize, [u8; 2], u8)]) -> Self {
        let size = (count * Self::BLOCK) as u64;
        let mut footer = Footer::fixed_for(size, 7).to_bytes();
        footer[16..24].copy_from_slice(&Self::HEADER_AT.to_be_bytes());
        footer[60..64].copy_from_slice(&3_u32.to_be_bytes());
        let mut header = vec![0; 1024];
        header[..8].copy_from_slice(b"cxsparse");
        header[8..16].fill(0xff);
        header[16..24].copy_from_slice(&(Self::TABLE_AT as u64).to_be_bytes());
        header[24..28].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
        header[28..32].copy_from_slice(&u32::try_from(count).unwrap().to_be_bytes());
        header[32..36].copy_from_slice(&u32::try_from(Self::BLOCK).unwrap().to_be_bytes());
        let (mut table, mut blocks) = (vec![u32::MAX; count], Vec::new());
        for &(number, bitmap, byte) in written {
            let sector = (Self::blocks_at(count) + blocks.len()) / 512;
            table[number] = u32::try_from(sector).unwrap();
            blocks.extend_from_slice(&bitmap);
            blocks.resize(blocks.len() + 510, 0);
            blocks.resize(blocks.len() + Self::BLOCK, byte);
        }
        Self { footer, header, table, blocks }
    }

    /// Where the blocks begin in the file, in bytes.
    fn blocks_at(count: usize) -> usize {
        (Self::TABLE_AT + count * 4).next_multiple_of(512)
    }

    /// The file, with right checksums.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (mut footer, mut header) = (self.footer, self.header.clone());
        seal(&mut footer, 64..68);
        seal(&mut header, 36..40);
        let mut bytes = [&footer[..], &header].concat();
        bytes.extend(self.table.iter().flat_map(|entry| entry.to_be_bytes()));
        bytes.resize(Self::blocks_at(self.table.len()), 0xff);
        bytes.extend_from_slice(&self.blocks);
        bytes.extend_from_slice(&footer);
        bytes
    }
}
