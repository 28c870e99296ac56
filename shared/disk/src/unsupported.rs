//! Files that are not readable disk images, recognised by their first bytes.

use crate::codes::{self, Code};

/// A known kind of file that cannot be read as a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnsupportedFile {
    /// The name of the format, with its article.
    pub(crate) name: &'static str,
    pub(crate) code: &'static Code,
    pub(crate) remedy: &'static str,
}

impl UnsupportedFile {
    /// Whether a disk may also begin with this signature.
    pub(crate) fn may_be_a_disk(&self) -> bool {
        self.name.contains("ISO 9660") || self.name.contains("LUKS")
    }
}

/// The number of bytes at the start of a file by which its format is detected. The signature of ISO 9660 is at 32,769.
pub(crate) const HEAD_SIZE: usize = 34 << 10;

const CONVERT: &str = "convert it to a new file: test ! -e OUT.qcow2 && qemu-img convert -O qcow2 IN OUT.qcow2";
const LZ4: &str = "decompress it to a new file: test ! -e OUT.image && lz4 -dc < IN > OUT.image";
const LZIP: &str = "decompress it to a new file: test ! -e OUT.image && lzip -dc < IN > OUT.image";
const LZOP: &str = "decompress it to a new file: test ! -e OUT.image && lzop -dc < IN > OUT.image";
const LZMA: &str = "decompress it to a new file: test ! -e OUT.image && xz --format=lzma -dc < IN > OUT.image";
const COMPRESS: &str = "decompress it to a new file: test ! -e OUT.image && gzip -dc < IN > OUT.image";
const UNPACK: &str = "unpack it, and name the disk image inside";
const INSTALL: &str = "install the system from it on a virtual disk, and name that disk";

/// Format name, offset of the signature, signature, code, remedy.
type Signature = (&'static str, usize, &'static [u8], &'static Code, &'static str);

const SIGNATURES: &[Signature] = &[
    ("a VDI (VirtualBox) image", 0x40, b"\x7f\x10\xda\xbe", &codes::OTHER_FORMAT, CONVERT),
    ("a Parallels image", 0, b"WithoutFreeSpace", &codes::OTHER_FORMAT, CONVERT),
    ("a Parallels image", 0, b"WithouFreSpacExt", &codes::OTHER_FORMAT, CONVERT),
    ("a QED image", 0, b"QED\0", &codes::OTHER_FORMAT, CONVERT),
    ("a Bochs image", 0, b"Bochs Virtual HD Image", &codes::OTHER_FORMAT, CONVERT),
    ("a cloop image", 0, b"#!/bin/sh\n#V2.0 Format\n", &codes::OTHER_FORMAT, CONVERT),
    (
        "an ESX sparse VMDK extent",
        0,
        b"COWD",
        &codes::OTHER_FORMAT,
        "export the disk with vmkfstools -i or ovftool, which write forms of VMDK that can be read",
    ),
    (
        "an ESX SE sparse VMDK extent",
        0,
        b"\xbe\xba\xfe\xca\0\0\0\0",
        &codes::OTHER_FORMAT,
        "export the disk with vmkfstools -i or ovftool, which write forms of VMDK that can be read",
    ),
    (
        "an Expert Witness (EnCase) image",
        0,
        b"EVF\x09\x0d\x0a\xff\0",
        &codes::OTHER_FORMAT,
        "export it as a raw disk (ewfexport -f raw), and use --format raw",
    ),
    (
        "a partclone image",
        0,
        b"partclone-image",
        &codes::OTHER_FORMAT,
        "restore it to a virtual disk, and name that disk",
    ),
    ("an AFF image", 0, b"AFF10\r\n\0", &codes::OTHER_FORMAT, "export it as a raw disk, and use --format raw"),
    (
        "an Android sparse image",
        0,
        b"\x3a\xff\x26\xed",
        &codes::OTHER_FORMAT,
        "convert it with simg2img, and use --format raw",
    ),
    (
        "a LUKS volume",
        0,
        b"LUKS\xba\xbe",
        &codes::NOT_A_DISK_IMAGE,
        "name the disk that holds the volume, or decrypt it first; Azure encrypts disks itself",
    ),
    ("an ISO 9660 image", 0x8001, b"CD001", &codes::NOT_A_DISK_IMAGE, INSTALL),
    (
        "a WIM (Windows installation) file",
        0,
        b"MSWIM\0\0\0",
        &codes::NOT_A_DISK_IMAGE,
        "apply it to a virtual disk (DISM /Apply-Image), and name that disk",
    ),
    ("a WIM (Windows installation) file", 0, b"WLPWM\0\0\0", &codes::NOT_A_DISK_IMAGE, INSTALL),
    (
        "a tar archive, perhaps an OVA",
        257,
        b"ustar",
        &codes::NOT_A_DISK_IMAGE,
        "unpack it (tar -xf), and name the disk inside, such as the .vmdk file of an OVA",
    ),
    ("a zip archive", 0, b"PK\x03\x04", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("an empty zip archive", 0, b"PK\x05\x06", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("a 7z archive", 0, b"7z\xbc\xaf\x27\x1c", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("a RAR archive", 0, b"Rar!\x1a\x07", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("a cabinet archive", 0, b"MSCF\0\0\0\0", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("a cpio archive", 0, b"070701", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("an ar archive or Debian package", 0, b"!<arch>\n", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("a xar archive", 0, b"xar!", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("an RPM package", 0, b"\xed\xab\xee\xdb", &codes::NOT_A_DISK_IMAGE, UNPACK),
    ("a squashfs file system", 0, b"hsqs", &codes::NOT_A_DISK_IMAGE, INSTALL),
    ("an lz4 file", 0, b"\x04\x22\x4d\x18", &codes::NOT_A_DISK_IMAGE, LZ4),
    ("an lzip file", 0, b"LZIP", &codes::NOT_A_DISK_IMAGE, LZIP),
    ("an lzop file", 0, b"\x89LZO\0\r\n\x1a\n", &codes::NOT_A_DISK_IMAGE, LZOP),
    ("an lzma file", 0, b"\x5d\0\0\x80\0\xff\xff\xff", &codes::NOT_A_DISK_IMAGE, LZMA),
    ("a file compressed by compress", 0, b"\x1f\x9d\x90", &codes::NOT_A_DISK_IMAGE, COMPRESS),
    ("an ELF program", 0, b"\x7fELF", &codes::NOT_A_DISK_IMAGE, "name the disk image itself"),
    (
        "a Git LFS pointer",
        0,
        b"version https://git-lfs",
        &codes::NOT_A_DISK_IMAGE,
        "download the file itself (git lfs pull)",
    ),
    (
        "an XML document, such as an error message of a server",
        0,
        b"<?xml",
        &codes::NOT_A_DISK_IMAGE,
        "download the file again",
    ),
    ("an XML document", 0, b"\xef\xbb\xbf<?xml", &codes::NOT_A_DISK_IMAGE, "download the file again"),
    ("a web page", 0, b"<!DOCTYPE", &codes::NOT_A_DISK_IMAGE, "download the file again"),
    ("a web page", 0, b"<!doctype", &codes::NOT_A_DISK_IMAGE, "download the file again"),
    ("a web page", 0, b"<html", &codes::NOT_A_DISK_IMAGE, "download the file again"),
    ("a PDF document", 0, b"%PDF-", &codes::NOT_A_DISK_IMAGE, "name the disk image itself"),
    ("a Hyper-V saved state", 0, b"VMRS", &codes::NOT_A_DISK_IMAGE, "name the .vhdx file of the machine"),
];

/// The kind of a file by its first bytes, if it is known and cannot be read.
pub(crate) fn detect(head: &[u8]) -> Option<UnsupportedFile> {
    let found = SIGNATURES.iter().find(|(_, at, magic, ..)| {
        let matches = head.get(*at..).is_some_and(|rest| rest.starts_with(magic));
        // An ISO 9660 image may also be a disk with partitions; then it is one.
        matches && !(*at == 0x8001 && head.get(510..512) == Some(&[0x55, 0xaa]))
    });
    found.map(|&(name, _, _, code, remedy)| UnsupportedFile { name, code, remedy })
}

/// The kind of a file by its last sector: Apple's disk images have a trailer.
pub(crate) fn detect_trailer(tail: &[u8]) -> Option<UnsupportedFile> {
    tail.starts_with(b"koly").then_some(UnsupportedFile {
        name: "an Apple disk image (DMG)",
        code: &codes::OTHER_FORMAT,
        remedy: "convert it to a new file: test ! -e OUT.qcow2 && qemu-img convert -f dmg -O qcow2 IN OUT.qcow2",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signature_is_recognised() {
        for (name, at, magic, ..) in SIGNATURES {
            let mut head = vec![0; HEAD_SIZE];
            head[*at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(detect(&head).unwrap().name, *name);
            assert!(at + magic.len() <= HEAD_SIZE);
        }
    }

    #[test]
    fn a_bootable_iso_with_partitions_is_a_disk() {
        let mut head = vec![0; HEAD_SIZE];
        head[0x8001..0x8006].copy_from_slice(b"CD001");
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(detect(&head), None);
    }
}
