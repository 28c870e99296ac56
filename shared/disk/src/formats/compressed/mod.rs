//! Disks inside a compressed stream.

mod decoder;
mod disk;

use std::fmt;

use serde::Serialize;

pub(crate) use disk::{CompressedDisk, head};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip, also of several members.
    Gzip,
    /// xz, also of several streams.
    Xz,
    /// zstd, also of several frames.
    Zstd,
    /// bzip2, also of several streams.
    Bzip2,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

impl Compression {
    /// The compression by the first bytes of a file.
    pub(crate) fn detect(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // A skippable frame, as zstd's seekable format and pzstd write first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Some(Self::Bzip2),
            _ => None,
        }
    }

    /// How to have the image read without decompressing it again for each read that goes back.
    #[must_use]
    pub fn remedy(self) -> String {
        let command = self.command();
        format!("decompress it to a new file, and name that file: test ! -e OUT.image && {command} < IN > OUT.image")
    }

    /// The command that decompresses its input to its output. Without `--long`, zstd refuses windows over 128 MiB.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Gzip => "gzip -dc",
            Self::Xz => "xz -dc",
            Self::Zstd => "zstd -dc --long=31",
            Self::Bzip2 => "bzip2 -dc",
        }
    }
}
