//! Headers of programs in the PE format: kernels, EFI loaders, unified kernel images, Windows programs.
//!
//! The layout is described by Microsoft's "PE Format". Signatures are named, not verified.

#[cfg(test)]
pub(crate) mod build;
mod signature;

use crate::bytes::{le16, le32};
use crate::fs::{FileReader, FsError};
use crate::text::latin1;

/// The most sections that a header may list; the format's limit is 96 for Windows, and unified kernel images have about
/// 20.
const MAX_SECTIONS: usize = 256;
/// The most bytes of an optional header that are read: the fields and 16 data directories need 240.
const MAX_OPTIONAL: usize = 512;
/// The most bytes of signatures: several certificate chains need about 30 KiB.
const MAX_SIGNATURES: u64 = 1 << 20;
/// The most bytes of the section `.sbat`.
const MAX_SBAT: u64 = 64 << 10;
/// Bytes per entry of the table of sections.
const SECTION: usize = 40;

/// The processor that a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 32-bit x86.
    X86,
    /// x86-64.
    X64,
    /// 64-bit ARM.
    Arm64,
    /// Another one, by its number in the format.
    Other(u16),
}

/// A section of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name, such as `.sbat`.
    pub name: String,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length in the file without padding, in bytes. Not to be trusted for an allocation.
    pub size: u64,
}

/// The header of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pe {
    /// The processor that it is for.
    pub machine: Machine,
    /// Its sections, in the order of the file.
    pub sections: Vec<Section>,
    /// Offset and length of the signatures; the length is 0 if there are none.
    signatures: (u64, u64),
}

fn damaged(text: &str) -> FsError {
    FsError::Damaged(format!("not a valid PE program: {text}"))
}

impl Pe {
    /// Reads the header of a program.
    ///
    /// # Errors
    /// [`FsError::Damaged`] if it is not a PE program, and errors of reading.
    pub fn read(file: &mut dyn FileReader) -> Result<Self, FsError> {
        let start = part(file, 0, 64)?;
        if !start.starts_with(b"MZ") || start.len() < 64 {
            return Err(damaged("it does not begin with 'MZ'"));
        }
        let at = u64::from(le32(&start, 60));
        let coff = part(file, at, 24)?;
        if !coff.starts_with(b"PE\0\0") || coff.len() < 24 {
            return Err(damaged("there is no PE signature"));
        }
        let machine = match le16(&coff, 4) {
            0x014c => Machine::X86,
            0x8664 => Machine::X64,
            0xaa64 => Machine::Arm64,
            other => Machine::Other(other),
        };
        let count = usize::from(le16(&coff, 6));
        if count > MAX_SECTIONS {
            return Err(damaged("it has too many sections"));
        }
        let optional_size = le16(&coff, 20);
        let optional = part(file, at + 24, usize::from(optional_size).min(MAX_OPTIONAL))?;
        let table = part(file, at + 24 + u64::from(optional_size), count * SECTION)?;
        if table.len() < count * SECTION {
            return Err(damaged("the table of sections is cut off"));
        }
        let sections = table.chunks_exact(SECTION).map(Section::parse).collect();
        Ok(Self { machine, sections, signatures: signatures(&optional) })
    }

    /// The first section of a name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The content of a section; `None` if there is no section of this name.
    ///
    /// # Errors
    /// [`FsError::TooLong`] if it has more than `limit` bytes, and errors of reading.
    pub fn content(&self, file: &mut dyn FileReader, name: &str, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        let Some(section) = self.section(name) else { return Ok(None) };
        let length =
            usize::try_from(section.size).ok().filter(|_| section.size <= limit).ok_or(FsError::TooLong(limit))?;
        let bytes = part(file, section.offset, length)?;
        if bytes.len() < length {
            return Err(damaged("a section is cut off"));
        }
        Ok(Some(bytes))
    }

    /// The text of the section `.sbat`, which states the generation of a loader for revocation by Secure Boot.
    ///
    /// # Errors
    /// As [`Self::content`].
    pub fn sbat(&self, file: &mut dyn FileReader) -> Result<Option<String>, FsError> {
        let bytes = self.content(file, ".sbat", MAX_SBAT)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()))
    }

    /// The names of the certificate authorities that issued the signers' certificates, one for each signature; empty if
    /// the program is not signed. A signature that cannot be read has an empty name.
    ///
    /// # Errors
    /// [`FsError::TooLong`] if the signatures have more than 1 MiB, and errors of reading.
    pub fn issuers(&self, file: &mut dyn FileReader) -> Result<Vec<String>, FsError> {
        let (offset, size) = self.signatures;
        if size > MAX_SIGNATURES {
            return Err(FsError::TooLong(MAX_SIGNATURES));
        }
        let bytes = part(file, offset, usize::try_from(size).unwrap_or(0))?;
        Ok(signature::issuers(&bytes))
    }
}

impl Section {
    fn parse(entry: &[u8]) -> Self {
        let name = latin1(&entry[..8]).trim_end_matches('\0').to_owned();
        let (memory, raw) = (u64::from(le32(entry, 8)), u64::from(le32(entry, 16)));
        // In the file a section is padded; in memory, zeros follow it. Kernels of some versions state no length in
        // memory.
        let size = if memory == 0 { raw } else { raw.min(memory) };
        Self { name, offset: u64::from(le32(entry, 20)), size }
    }
}

/// Offset and length of the signatures, from data directory 4 of the optional header.
fn signatures(optional: &[u8]) -> (u64, u64) {
    let (count_at, first) = match le16(optional, 0) {
        0x10b => (92, 96),
        0x20b => (108, 112),
        _ => return (0, 0),
    };
    let directory = first + 4 * 8;
    if le32(optional, count_at) < 5 {
        return (0, 0);
    }
    (u64::from(le32(optional, directory)), u64::from(le32(optional, directory + 4)))
}

/// Reads up to `length` bytes: fewer at the end of the file. The caller limits `length`.
fn part(file: &mut dyn FileReader, offset: u64, length: usize) -> Result<Vec<u8>, FsError> {
    let available = usize::try_from(file.size().saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(available)];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(offset + done as u64, &mut bytes[done..])? {
            0 => break,
            count => done += count,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::build::{program, signature};
    use super::*;
    use crate::MemoryFile;

    #[test]
    fn machine_sections_and_sbat_are_read() {
        for (number, machine) in
            [(0x14c, Machine::X86), (0x8664, Machine::X64), (0xaa64, Machine::Arm64), (1, Machine::Other(1))]
        {
            let mut file = MemoryFile(program(number, &[]));
            let pe = Pe::read(&mut file).unwrap();
            assert_eq!(pe.machine, machine);
            assert_eq!(pe.section(".text"), Some(&Section { name: ".text".into(), offset: 0x300, size: 4 }));
            assert_eq!(pe.sbat(&mut file).unwrap().as_deref(), Some("sbat,1,SBAT Version,sbat,1\n"));
            assert_eq!(pe.content(&mut file, ".linux", 10).unwrap(), None);
            assert!(matches!(pe.content(&mut file, ".sbat", 10), Err(FsError::TooLong(10))));
            assert_eq!(pe.issuers(&mut file).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let whole = program(0x8664, &[]);
        for length in [0, 1, 63, 0x90, 0x190] {
            assert!(Pe::read(&mut MemoryFile(whole[..length].to_vec())).is_err(), "{length} bytes");
        }
        let mut cut = MemoryFile(whole[..0x210].to_vec());
        let pe = Pe::read(&mut cut).unwrap();
        assert!(pe.sbat(&mut cut).is_err());
        assert!(Pe::read(&mut MemoryFile(b"#!/bin/sh\n".to_vec())).is_err());
    }

    #[test]
    fn the_issuers_of_all_signatures_are_named() {
        let two = [signature("Microsoft Corporation UEFI CA 2011"), signature("Ünknown CA")].concat();
        let mut file = MemoryFile(program(0x8664, &two));
        let pe = Pe::read(&mut file).unwrap();
        assert_eq!(pe.issuers(&mut file).unwrap(), ["Microsoft Corporation UEFI CA 2011", "Ünknown CA"]);
        let mut cut = signature("Microsoft Corporation UEFI CA 2011");
        cut[8..].fill(0xff);
        let mut file = MemoryFile(program(0x8664, &cut));
        assert_eq!(Pe::read(&mut file).unwrap().issuers(&mut file).unwrap(), [""]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(crate::damaged::cases()))]
        #[test]
        fn a_damaged_program_is_read_to_an_end(
            changes in proptest::collection::vec((0_usize..0x500, 0_u8..), 0..20),
            signatures in proptest::collection::vec(0_u8.., 0..200),
        ) {
            let mut bytes = program(0x8664, &signatures);
            let length = bytes.len();
            for (at, value) in changes {
                bytes[at % length] = value;
            }
            let mut file = MemoryFile(bytes);
            if let Ok(pe) = Pe::read(&mut file) {
                let _ = (pe.sbat(&mut file), pe.issuers(&mut file));
            }
        }
    }
}
