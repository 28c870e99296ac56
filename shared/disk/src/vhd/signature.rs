//! Files that are not VHDs, recognised by their first bytes: images of other formats, and what people pass by mistake.

use super::findings::Format;

/// How much of a file's beginning [`recognise`] looks at, in bytes: an ISO 9660 image has its signature behind 32 KiB.
pub(super) const HEAD: usize = 33 * 1024;

/// What a file is by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recognised {
    /// The kind of file.
    pub(super) kind: Kind,
    /// What it is called, with its article.
    pub(super) name: &'static str,
}

/// Kinds of files that differ in what to do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Hyper-V's newer format.
    Vhdx,
    /// QEMU's format.
    Qcow2,
    /// VMware's format: a whole image, or a descriptor that names its extents.
    Vmdk,
    /// A part of a disk of VMware's.
    VmdkExtent,
    /// VirtualBox's format.
    Vdi,
    /// Parallels' format.
    Parallels,
    /// An earlier format of QEMU's.
    Qed,
    /// Any other disk image.
    OtherImage,
    /// A compressed file.
    Compressed,
    /// An archive that may hold a disk.
    Archive,
    /// An image of an optical disc.
    Iso,
    /// A volume that is encrypted as a whole.
    Encrypted,
    /// A text that was saved in place of a file.
    Text,
    /// A pointer of Git LFS.
    LfsPointer,
}

impl Kind {
    /// The code of the finding.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Vhdx => "vhdx",
            Self::Qcow2 => "qcow2",
            Self::Vmdk | Self::VmdkExtent => "vmdk",
            Self::Vdi => "vdi",
            Self::Parallels => "parallels",
            Self::Qed => "qed",
            Self::OtherImage => "other-image",
            Self::Compressed => "compressed",
            Self::Archive => "archive",
            Self::Iso => "iso",
            Self::Encrypted => "encrypted",
            Self::Text | Self::LfsPointer => "not-the-file",
        }
    }

    /// The format in the report.
    pub(super) fn format(self) -> Format {
        match self {
            Self::Vhdx => Format::Vhdx,
            Self::Qcow2 => Format::Qcow2,
            Self::Vmdk | Self::VmdkExtent => Format::Vmdk,
            Self::Vdi => Format::Vdi,
            Self::Parallels => Format::Parallels,
            Self::Qed => Format::Qed,
            Self::Compressed => Format::Compressed,
            Self::Archive => Format::Archive,
            Self::Iso => Format::Iso,
            Self::OtherImage | Self::Encrypted | Self::Text | Self::LfsPointer => Format::Unknown,
        }
    }

    /// Whether a disk may begin like this all the same. Behind the partition table of a disk that once was an installation
    /// medium, the signature of an ISO 9660 image may be left.
    pub(super) fn may_be_a_disk(self) -> bool {
        matches!(self, Self::Iso | Self::Encrypted)
    }

    /// What to do about it, where no command is given.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Vhdx | Self::Qcow2 | Self::Vmdk | Self::Vdi | Self::Parallels | Self::Qed | Self::OtherImage => {
                "convert it to a fixed VHD with the program that made it"
            }
            Self::VmdkExtent => "name the descriptor of the disk, a short text file that names all extents",
            Self::Compressed => "decompress it, and check the file that was in it",
            Self::Archive => "unpack it, and check the disk image that was in it",
            Self::Iso => "install from it in a virtual machine, and export the disk of that machine",
            Self::Encrypted => "export the disk of the machine without this encryption: nothing boots from it",
            Self::Text => "download or copy the file again: this is a page or an error message in its place",
            Self::LfsPointer => "fetch the file itself from Git LFS: this only names it",
        }
    }
}

/// Where a signature lies, the signature, the kind of file and its name. Sources: the formats' specifications, and
/// `file`'s database of magic numbers.
const SIGNATURES: &[(usize, &[u8], Kind, &str)] = &[
    (0, b"vhdxfile", Kind::Vhdx, "a VHDX image"),
    (0, b"QFI\xfb\0\0\0\x01", Kind::OtherImage, "a QCOW image of version 1"),
    (0, b"QFI\xfb", Kind::Qcow2, "a QCOW2 image"),
    (0, b"KDMV", Kind::Vmdk, "a VMDK image"),
    (0, b"# Disk DescriptorFile", Kind::Vmdk, "a VMDK descriptor"),
    (0, b"COWD", Kind::VmdkExtent, "an extent of a VMDK disk"),
    (64, b"\x7f\x10\xda\xbe", Kind::Vdi, "a VDI image"),
    (0, b"WithoutFreeSpace", Kind::Parallels, "a Parallels image"),
    (0, b"WithouFreSpacExt", Kind::Parallels, "a Parallels image"),
    (0, b"QED\0", Kind::Qed, "a QED image"),
    (0, b"Bochs Virtual HD Image", Kind::OtherImage, "a Bochs image"),
    (0, b"\x3a\xff\x26\xed", Kind::OtherImage, "a sparse image of Android"),
    (0, b"EVF\x09\x0d\x0a\xff\0", Kind::OtherImage, "an EnCase image"),
    (0, b"MSWIM\0\0\0", Kind::Archive, "a Windows image (WIM)"),
    (0, b"partclone-image", Kind::OtherImage, "an image of partclone"),
    (0, b"\x1f\x8b\x08", Kind::Compressed, "a gzip file"),
    (0, b"\xfd7zXZ\0", Kind::Compressed, "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", Kind::Compressed, "a zstd file"),
    (4, b"1AY&SY", Kind::Compressed, "a bzip2 file"),
    (0, b"\x04\x22\x4d\x18", Kind::Compressed, "an lz4 file"),
    (0, b"LZIP\x01", Kind::Compressed, "an lzip file"),
    (0, b"\x89LZO\0", Kind::Compressed, "an lzop file"),
    (0, b"\x1f\x9d", Kind::Compressed, "a file of compress"),
    (0, b"PK\x03\x04", Kind::Archive, "a zip archive"),
    (0, b"PK\x05\x06", Kind::Archive, "an empty zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", Kind::Archive, "a 7z archive"),
    (0, b"Rar!\x1a\x07", Kind::Archive, "a RAR archive"),
    (0, b"MSCF\0\0\0\0", Kind::Archive, "a cabinet archive"),
    (0, b"!<arch>\n", Kind::Archive, "an ar archive"),
    (0, b"xar!", Kind::Archive, "a xar archive"),
    (0, b"070701", Kind::Archive, "a cpio archive"),
    (257, b"ustar", Kind::Archive, "a tar archive, as an OVA is"),
    (32769, b"CD001", Kind::Iso, "an ISO 9660 image"),
    (0, b"LUKS\xba\xbe", Kind::Encrypted, "a LUKS volume"),
    (0, b"version https://git-lfs.github.com/spec/", Kind::LfsPointer, "a pointer of Git LFS"),
    (0, b"<!DOCTYPE", Kind::Text, "an HTML page"),
    (0, b"<!doctype", Kind::Text, "an HTML page"),
    (0, b"<html", Kind::Text, "an HTML page"),
    (0, b"<?xml", Kind::Text, "an XML text"),
    (0, b"\xef\xbb\xbf<?xml", Kind::Text, "an XML text"),
];

/// What a file is whose first [`HEAD`] bytes these are; none where that is not known. One that is shorter has fewer.
pub(super) fn recognise(head: &[u8]) -> Option<Recognised> {
    let matches = |(at, magic): (usize, &[u8])| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let found = SIGNATURES.iter().find(|(at, magic, ..)| matches((*at, magic)));
    found.map(|&(_, _, kind, name)| Recognised { kind, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_found_where_it_lies() {
        for (at, magic, kind, name) in SIGNATURES {
            let mut head = vec![0; HEAD];
            head[*at..][..magic.len()].copy_from_slice(magic);
            assert_eq!(recognise(&head), Some(Recognised { kind: *kind, name }), "{name}");
            assert_eq!(recognise(&head[..at + magic.len() - 1]).filter(|found| found.name == *name), None, "{name}");
        }
    }

    #[test]
    fn boot_sectors_are_not_recognised() {
        let mut head = vec![0; HEAD];
        assert_eq!(recognise(&head), None);
        for code in [[0xeb, 0x63, 0x90], [0x33, 0xc0, 0x8e], [0xfa, 0xb8, 0x00], [0xe9, 0x00, 0x00], [0xfc, 0x31, 0xc0]]
        {
            head[..3].copy_from_slice(&code);
            head[510..512].copy_from_slice(&[0x55, 0xaa]);
            assert_eq!(recognise(&head), None, "{code:x?}");
        }
    }
}
