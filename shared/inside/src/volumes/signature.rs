//! What a volume holds, told from its magic numbers. The offsets are those that `blkid` (util-linux, libblkid) uses.

use goldfleet_disk::{DiskError, DiskReader};

use crate::bytes::{le16, le32, le64, uuid};
use crate::fs::FsKind;
use crate::text::until_zero;

/// What a volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A file system that can be read.
    Fs(FsKind),
    /// A physical volume of LVM2.
    Lvm,
    /// Linux swap space.
    Swap {
        /// It holds the memory of a hibernated system.
        hibernated: bool,
    },
    /// Data encrypted by LUKS or BitLocker.
    Encrypted(&'static str),
    /// A member of a Linux software RAID.
    Raid,
    /// A known file system or container that is not supported.
    Other(&'static str),
    /// Nothing: it begins with zeros.
    Empty,
    /// No known magic number.
    Unknown,
}

/// What a volume holds, and the names by which it can be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What it holds.
    pub content: Content,
    /// The identifier as in `UUID=`. Empty if it has none. That of a file system is in [`crate::fs::FsInfo`].
    pub uuid: String,
    /// The label as in `LABEL=`.
    pub label: String,
}

/// Bytes at the start of a volume that are examined.
const HEAD: usize = 72 << 10;

/// Examines the magic numbers of a volume.
///
/// # Errors
/// [`DiskError`] if the volume cannot be read.
pub fn detect(volume: &dyn DiskReader) -> Result<Signature, DiskError> {
    let mut head = vec![0; HEAD.min(usize::try_from(volume.size()).unwrap_or(HEAD))];
    volume.read_at(0, &mut head)?;
    let with = |content, uuid, label| Ok(Signature { content, uuid, label });
    if at(&head, 0, b"LUKS\xba\xbe") {
        return with(Content::Encrypted("LUKS"), until_zero(slice(&head, 168, 40)), until_zero(slice(&head, 24, 48)));
    }
    if at(&head, 3, b"-FVE-FS-") {
        return with(Content::Encrypted("BitLocker"), String::new(), String::new());
    }
    if let Some((content, page)) = swap(&head) {
        debug_assert!(page >= 4096);
        return with(content, uuid(slice(&head, 1036, 16)), until_zero(slice(&head, 1052, 16)));
    }
    if is_raid(volume, &head)? {
        return with(Content::Raid, String::new(), String::new());
    }
    let content = plain(&head).map_or_else(|| zfs_or_empty(volume, &head), Ok)?;
    with(content, String::new(), String::new())
}

fn slice(bytes: &[u8], offset: usize, length: usize) -> &[u8] {
    bytes.get(offset..offset + length).unwrap_or(&[])
}

fn at(bytes: &[u8], offset: usize, magic: &[u8]) -> bool {
    slice(bytes, offset, magic.len()) == magic
}

/// Swap space ends its first page with a magic number. Pages have 4 KiB to 64 KiB.
fn swap(head: &[u8]) -> Option<(Content, usize)> {
    for page in [4096, 8192, 16_384, 65_536] {
        let magic = slice(head, page - 10, 10);
        if magic == b"SWAPSPACE2" || magic == b"SWAP-SPACE" {
            return Some((Content::Swap { hibernated: false }, page));
        }
        let hibernated = [&b"S1SUSPEND"[..], b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001"];
        if hibernated.iter().any(|known| magic.starts_with(known)) {
            return Some((Content::Swap { hibernated: true }, page));
        }
    }
    None
}

/// Versions 1.1 and 1.2 have the superblock at the start, 0.90 and 1.0 at the end.
fn is_raid(volume: &dyn DiskReader, head: &[u8]) -> Result<bool, DiskError> {
    const MAGIC: u32 = 0xa92b_4efc;
    if le32(head, 0) == MAGIC || le32(head, 4096) == MAGIC {
        return Ok(true);
    }
    let size = volume.size();
    let old = (size & !0xffff).checked_sub(0x10000);
    let new = size.checked_sub(8192).map(|offset| offset & !0xfff);
    for offset in [old, new].into_iter().flatten() {
        let mut magic = [0; 4];
        if offset + 4 <= size {
            volume.read_at(offset, &mut magic)?;
            if u32::from_le_bytes(magic) == MAGIC {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn plain(head: &[u8]) -> Option<Content> {
    let lvm = (0..4).map(|i| i * 512).any(|o| at(head, o, b"LABELONE") && at(head, o + 24, b"LVM2 001"));
    Some(match () {
        () if lvm => Content::Lvm,
        () if at(head, 0x1_0040, b"_BHRfS_M") => Content::Fs(FsKind::Btrfs),
        () if at(head, 0, b"XFSB") => Content::Fs(FsKind::Xfs),
        () if le16(head, 1080) == 0xef53 => Content::Fs(FsKind::Ext),
        () if at(head, 3, b"NTFS    ") => Content::Fs(FsKind::Ntfs),
        () if at(head, 3, b"EXFAT   ") => Content::Other("exFAT"),
        () if at(head, 3, b"ReFS\0\0\0\0") => Content::Other("ReFS"),
        () if is_fat(head) => Content::Fs(FsKind::Fat),
        () if le32(head, 1024) == 0xe0f5_e1e2 => Content::Other("erofs"),
        () if le32(head, 1024) == 0xf2f5_2010 => Content::Other("F2FS"),
        () if at(head, 0, b"hsqs") => Content::Other("squashfs"),
        () if at(head, 32_769, b"CD001") => Content::Other("ISO 9660"),
        () if is_bcachefs(head) => Content::Other("bcachefs"),
        () => return None,
    })
}

fn is_fat(head: &[u8]) -> bool {
    let sector = le16(head, 11);
    at(head, 510, &[0x55, 0xaa])
        && matches!(sector, 512 | 1024 | 2048 | 4096)
        && (at(head, 54, b"FAT")
            || at(head, 82, b"FAT32")
            || (matches!(head.first(), Some(0xeb | 0xe9)) && fat_geometry(head)))
}

/// The fields that every FAT has: a power of two sectors per cluster, one or two tables, reserved sectors, a media
/// descriptor.
fn fat_geometry(head: &[u8]) -> bool {
    let byte = |offset: usize| head.get(offset).copied().unwrap_or(0);
    byte(13).is_power_of_two() && matches!(byte(16), 1 | 2) && le16(head, 14) > 0 && byte(21) >= 0xf0
}

fn is_bcachefs(head: &[u8]) -> bool {
    const OLD: [u8; 16] = *b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    const NEW: [u8; 16] = *b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    at(head, 4120, &OLD) || at(head, 4120, &NEW)
}

/// ZFS has an array of uberblocks from 128 KiB on.
fn zfs_or_empty(volume: &dyn DiskReader, head: &[u8]) -> Result<Content, DiskError> {
    const MAGIC: u64 = 0x00ba_b10c;
    let mut ring = vec![0; 128 << 10];
    if volume.size() >= 256 << 10 {
        volume.read_at(128 << 10, &mut ring)?;
        let magic = |offset| le64(&ring, offset) == MAGIC || le64(&ring, offset).swap_bytes() == MAGIC;
        if (0..ring.len()).step_by(1024).any(magic) {
            return Ok(Content::Other("ZFS"));
        }
    }
    Ok(if head.iter().all(|b| *b == 0) { Content::Empty } else { Content::Unknown })
}

#[cfg(test)]
mod tests {
    use goldfleet_disk::MemoryDisk;

    use super::*;

    fn disk(parts: &[(usize, &[u8])]) -> Signature {
        let mut bytes = vec![0; 512 << 10];
        for (offset, part) in parts {
            bytes[*offset..offset + part.len()].copy_from_slice(part);
        }
        detect(&MemoryDisk(bytes)).unwrap()
    }

    #[test]
    fn each_magic_number_is_recognised() {
        let cases: &[(usize, &[u8], Content)] = &[
            (0, b"LUKS\xba\xbe", Content::Encrypted("LUKS")),
            (3, b"-FVE-FS-", Content::Encrypted("BitLocker")),
            (4086, b"SWAPSPACE2", Content::Swap { hibernated: false }),
            (65_526, b"SWAPSPACE2", Content::Swap { hibernated: false }),
            (4086, b"S1SUSPEND\0", Content::Swap { hibernated: true }),
            (4096, &0xa92b_4efc_u32.to_le_bytes(), Content::Raid),
            ((512 << 10) - 0x10000, &0xa92b_4efc_u32.to_le_bytes(), Content::Raid),
            ((512 << 10) - 8192, &0xa92b_4efc_u32.to_le_bytes(), Content::Raid),
            (0x1_0040, b"_BHRfS_M", Content::Fs(FsKind::Btrfs)),
            (0, b"XFSB", Content::Fs(FsKind::Xfs)),
            (1080, &[0x53, 0xef], Content::Fs(FsKind::Ext)),
            (3, b"NTFS    ", Content::Fs(FsKind::Ntfs)),
            (3, b"EXFAT   ", Content::Other("exFAT")),
            (0, b"hsqs", Content::Other("squashfs")),
            ((128 << 10) + 4096, &0x00ba_b10c_u64.to_le_bytes(), Content::Other("ZFS")),
            (100, b"x", Content::Unknown),
        ];
        for (offset, magic, content) in cases {
            assert_eq!(disk(&[(*offset, magic)]).content, *content);
        }
        assert_eq!(disk(&[]).content, Content::Empty);
        assert_eq!(disk(&[(512, b"LABELONE"), (536, b"LVM2 001")]).content, Content::Lvm);
        assert_eq!(
            disk(&[(11, &512_u16.to_le_bytes()), (510, &[0x55, 0xaa]), (82, b"FAT32   ")]).content,
            Content::Fs(FsKind::Fat)
        );
    }

    #[test]
    fn swap_has_a_uuid_and_a_label() {
        let found = disk(&[(4086, b"SWAPSPACE2"), (1036, &[0xab; 16]), (1052, b"swap0")]);
        assert_eq!(found.uuid, "abababab-abab-abab-abab-abababababab");
        assert_eq!(found.label, "swap0");
    }
}
