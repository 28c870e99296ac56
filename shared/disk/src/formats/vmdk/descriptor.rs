//! The descriptor: a text that lists the extents of a disk.

use crate::DiskError;

/// The maximum size of a descriptor in bytes. Descriptors of split disks have a line for each 2 GB.
pub(crate) const MAX_DESCRIPTOR: u64 = 1 << 20;

/// The maximum number of extents of a disk.
const MAX_EXTENTS: usize = 4096;

/// A disk's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// For example `monolithicSparse`.
    pub(crate) create_type: String,
    pub(crate) extents: Vec<Extent>,
}

/// A part of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// `FLAT`, `SPARSE`, `ZERO` and others.
    pub(crate) kind: String,
    pub(crate) file: Option<String>,
    /// Where it begins in a flat file, in bytes.
    pub(crate) offset: u64,
}

/// Whether a file begins as a descriptor.
pub(crate) fn looks_like_descriptor(head: &[u8]) -> bool {
    let start = head.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    const MARK: &[u8] = b"# disk descriptorfile";
    head.get(start..start + MARK.len()).is_some_and(|line| line.eq_ignore_ascii_case(MARK))
}

impl Descriptor {
    /// Reads the text. Refuses descriptors of disks that depend on another disk.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DiskError> {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut descriptor = Self { create_type: String::new(), extents: Vec::new() };
        for line in text.lines().map(str::trim) {
            if let Some((key, value)) = line.split_once('=') {
                let value = value.trim().trim_matches('"');
                match key.trim().to_ascii_lowercase().as_str() {
                    "createtype" => value.clone_into(&mut descriptor.create_type),
                    "parentcid" if !value.eq_ignore_ascii_case("ffffffff") => {
                        return Err(DiskError::ExternalFile("the parent of a VMDK delta link".to_owned()));
                    }
                    _ => {}
                }
            } else if ["RW ", "RDONLY ", "NOACCESS "].iter().any(|access| line.starts_with(access)) {
                descriptor.extents.push(extent(line)?);
                if descriptor.extents.len() > MAX_EXTENTS {
                    return Err(DiskError::Limit(format!("the VMDK has more than {MAX_EXTENTS} extents")));
                }
            }
        }
        Ok(descriptor)
    }
}

/// A line like `RW 4192256 FLAT "disk-flat.vmdk" 0`.
fn extent(line: &str) -> Result<Extent, DiskError> {
    let damaged = || DiskError::damaged(format!("the VMDK descriptor has an invalid line: {}", line.escape_debug()));
    let (before, quoted) = match line.split_once('"') {
        Some((before, rest)) => (before, Some(rest.split_once('"').ok_or_else(damaged)?)),
        None => (line, None),
    };
    let mut words = before.split_ascii_whitespace().skip(1);
    let sectors = |word: &str| word.parse::<u64>().ok().and_then(|sectors| sectors.checked_mul(super::SECTOR));
    let size = words.next().and_then(sectors).ok_or_else(damaged)?;
    let kind = words.next().ok_or_else(damaged)?.to_ascii_uppercase();
    let offset = match quoted.and_then(|(_, after)| after.split_ascii_whitespace().next()) {
        Some(word) => sectors(word).ok_or_else(damaged)?,
        None => 0,
    };
    Ok(Extent { size, kind, file: quoted.map(|(name, _)| name.to_owned()), offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Disk DescriptorFile\nversion=1\nCID=123a5678\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n\
        # Extent description\nRW 4192256 FLAT \"disk one-f001.vmdk\" 0\nRW 2048 ZERO\n\nddb.adapterType = \"ide\"\n";

    #[test]
    fn extents_are_read() {
        let descriptor = Descriptor::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(descriptor.create_type, "twoGbMaxExtentFlat");
        let [flat, zero] = &descriptor.extents[..] else { panic!("{descriptor:?}") };
        assert_eq!((flat.size, flat.file.as_deref()), (4_192_256 * 512, Some("disk one-f001.vmdk")));
        assert_eq!((zero.size, zero.kind.as_str(), zero.file.as_deref()), (1 << 20, "ZERO", None));
    }

    #[test]
    fn a_delta_link_is_refused() {
        let text = TEXT.replace("parentCID=ffffffff", "parentCID=0000abcd");
        assert!(matches!(Descriptor::parse(text.as_bytes()), Err(DiskError::ExternalFile(_))));
    }

    #[test]
    fn an_invalid_extent_is_damage() {
        for line in ["RW 99999999999999999999 FLAT \"a\" 0", "RW 10", "RW 10 FLAT \"a", "RW x FLAT \"a\" 0"] {
            assert!(matches!(Descriptor::parse(line.as_bytes()), Err(DiskError::Damaged(_))), "{line}");
        }
    }
}
