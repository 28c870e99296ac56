//! Search for the footer of a VHD, also in files with a damaged end.

use super::footer::{COOKIE, DiskType, FOOTER_SIZE, Footer, FooterError};
use crate::bytes::{be32, be64};
use crate::chunk::is_zero;
use crate::{DiskError, DiskReader};

/// How many bytes at the end of the file are searched for a footer. Copying tools pad files to blocks of at most 4 MiB.
const SEARCHED: usize = (4 << 20) + FOOTER_SIZE;

/// What the end of a file shows.
#[derive(Debug)]
pub(crate) enum Located {
    /// The footer is the last 512 bytes of the file.
    Last(Footer),
    /// The last 512 bytes begin as a footer, but are not valid.
    Invalid(FooterError),
    /// The footer is followed by other bytes.
    Padded {
        /// The footer.
        footer: Footer,
        /// Its offset in the file.
        at: u64,
        /// Whether all bytes behind it are zero.
        zeros: bool,
    },
    /// The last 511 bytes are a footer, as written before Virtual PC 2004.
    Short(Footer),
    /// The file begins as a dynamic or differencing VHD, but no footer is at its end.
    HeadOnly,
    /// There is no sign of a VHD.
    Absent,
}

/// Searches for the footer.
pub(crate) fn locate(source: &dyn DiskReader) -> Result<Located, DiskError> {
    let length = source.size();
    if length < FOOTER_SIZE as u64 {
        return Ok(Located::Absent);
    }
    let mut last = [0; FOOTER_SIZE];
    source.read_at(length - FOOTER_SIZE as u64, &mut last)?;
    match Footer::parse(&last) {
        Ok(footer) => return Ok(Located::Last(footer)),
        Err(FooterError::Cookie) => {}
        Err(error) => return Ok(Located::Invalid(error)),
    }
    if last[1..9] == *COOKIE {
        let mut bytes = [0; FOOTER_SIZE];
        bytes[..FOOTER_SIZE - 1].copy_from_slice(&last[1..]);
        if let Ok(footer) = Footer::parse(&bytes) {
            return Ok(Located::Short(footer));
        }
    }
    if let Some(found) = padded(source, length)? {
        return Ok(found);
    }
    let mut first = [0; FOOTER_SIZE];
    source.read_at(0, &mut first)?;
    // A dynamic VHD begins with a copy of the footer.
    let sparse = be32(&first, 60) != 2 && be64(&first, 16) < length;
    Ok(if first.starts_with(COOKIE) && sparse { Located::HeadOnly } else { Located::Absent })
}

/// The last valid footer near the end whose size matches the bytes before it.
fn padded(source: &dyn DiskReader, length: u64) -> Result<Option<Located>, DiskError> {
    let searched = crate::bytes::index(length.min(SEARCHED as u64));
    let start = length - searched as u64;
    let mut bytes = vec![0; searched];
    source.read_at(start, &mut bytes)?;
    let candidates = (0..=searched - FOOTER_SIZE).rev();
    for at in candidates.filter(|&at| bytes[at..].starts_with(COOKIE)) {
        let Some(Ok(footer)) = bytes[at..at + FOOTER_SIZE].try_into().ok().map(Footer::parse) else { continue };
        let position = start + at as u64;
        // Neither the copy at the beginning of a dynamic disk nor a footer inside the disk's data is the footer of the
        // file.
        let plausible = match footer.disk_type() {
            DiskType::Fixed => footer.size() == position,
            DiskType::Dynamic | DiskType::Differencing => position > footer.data_offset(),
        };
        if plausible {
            return Ok(Some(Located::Padded { footer, at: position, zeros: is_zero(&bytes[at + FOOTER_SIZE..]) }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    fn file(size: usize, tail: &[u8]) -> MemoryDisk {
        let mut bytes = vec![3; size];
        bytes.extend_from_slice(&Footer::fixed_for(size as u64, 1).to_bytes());
        bytes.extend_from_slice(tail);
        MemoryDisk(bytes)
    }

    #[test]
    fn the_actual_place_of_a_footer_is_found() {
        assert!(matches!(locate(&file(4096, b"")).unwrap(), Located::Last(_)));
        assert!(matches!(locate(&file(4096, &[0; 7])).unwrap(), Located::Padded { at: 4096, zeros: true, .. }));
        assert!(matches!(locate(&file(4096, b"\n")).unwrap(), Located::Padded { zeros: false, .. }));
        let mut short = file(4096, b"");
        short.0.pop();
        assert!(matches!(locate(&short).unwrap(), Located::Short(_)));
        assert!(matches!(locate(&MemoryDisk(vec![0; 9000])).unwrap(), Located::Absent));
        assert!(matches!(locate(&MemoryDisk(b"abc".to_vec())).unwrap(), Located::Absent));
    }

    #[test]
    fn a_footer_inside_the_data_is_not_the_footer() {
        let mut inside = file(8192, b"").0;
        inside[100..612].copy_from_slice(&Footer::fixed_for(4096, 1).to_bytes());
        inside.truncate(8192);
        assert!(matches!(locate(&MemoryDisk(inside)).unwrap(), Located::Absent));
    }
}
