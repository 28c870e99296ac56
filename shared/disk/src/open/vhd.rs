//! Opening VHDs, which are known by their footer.

use std::path::PathBuf;
use std::sync::Arc;

use super::format::{Format, StatedFormat, vhd_format};
use super::{OpenDisk, OpenError, Opener, raw};
use crate::bytes::guid_text_be;
use crate::file::Section;
use crate::formats::vhd::{DiskType, DynamicVhd, FOOTER_SIZE, Footer, FooterError, Located, locate};
use crate::{DiskError, DiskReader, Finding, codes};

const FOOTER: u64 = FOOTER_SIZE as u64;

impl Opener<'_> {
    /// Opens a VHD, or a raw disk if there is no sign of a VHD.
    pub(super) fn open_vhd_or_raw(
        &self,
        source: Arc<dyn DiskReader>,
        head: &[u8],
        parents: &[PathBuf],
    ) -> Result<OpenDisk, OpenError> {
        let stated = self.options.format == Some(StatedFormat::Vhd);
        let length = source.size();
        match locate(&*source).map_err(|error| OpenError::disk(Format::Unknown, &error))? {
            Located::Last(footer) => self.open_vhd(source, footer, length - FOOTER, parents),
            Located::Padded { footer, at, zeros } if stated && zeros => self.open_vhd(source, footer, at, parents),
            Located::Short(footer) if stated => self.open_vhd(source, footer, length - FOOTER + 1, parents),
            Located::Padded { footer, at, zeros } => Err(padded(&footer, at + FOOTER, length, zeros)),
            Located::Short(footer) => {
                let message = "its footer has 511 bytes in place of 512: either a program before Virtual PC 2004 wrote it, or the \
                     last byte is missing";
                Err(OpenError::new(vhd_format(&footer), Finding::new(&codes::SHORT_FOOTER, message)))
            }
            Located::Invalid(error) => {
                let is_type = matches!(error, FooterError::Type(_));
                let code = if is_type { &codes::FOOTER_TYPE } else { &codes::FOOTER_CHECKSUM };
                Err(OpenError::new(Format::Unknown, Finding::new(code, error.to_string())))
            }
            Located::HeadOnly => {
                let message = "it begins as a dynamic VHD, but its footer is missing: it is cut short";
                Err(OpenError::new(Format::DynamicVhd, Finding::new(&codes::TRUNCATED, message)))
            }
            Located::Absent if stated => {
                let message = FooterError::Cookie.to_string();
                Err(OpenError::new(Format::Unknown, Finding::new(&codes::NO_FOOTER, message)))
            }
            Located::Absent => raw::open_detected(source, head),
        }
    }

    fn open_vhd(
        &self,
        source: Arc<dyn DiskReader>,
        footer: Footer,
        footer_at: u64,
        parents: &[PathBuf],
    ) -> Result<OpenDisk, OpenError> {
        let format = vhd_format(&footer);
        let failed = |error: DiskError| OpenError::disk(format, &error);
        let disk: Arc<dyn DiskReader> = if footer.disk_type() == DiskType::Fixed {
            check_fixed_size(&footer, footer_at)?;
            Arc::new(Section::new(source, 0, footer.size()).map_err(failed)?)
        } else {
            let mut disk = DynamicVhd::open(source, footer.clone(), footer_at).map_err(failed)?;
            if let Some(id) = disk.parent_id() {
                disk.set_parent(self.find_parent(format, &[guid_text_be(&id)], parents)?);
            }
            Arc::new(disk)
        };
        let mut open = OpenDisk::new(disk, format);
        open.id = Some(guid_text_be(&footer.unique_id()));
        open.footer = Some(footer);
        Ok(open)
    }
}

/// The error for a VHD whose footer ends before the end of the file.
fn padded(footer: &Footer, end: u64, length: u64, zeros: bool) -> OpenError {
    let what = if zeros { "are all zero" } else { "are not all zero" };
    let message = format!("it is a VHD whose footer ends at byte {end} of {length}; the bytes after the footer {what}");
    let mut finding = Finding::new(&codes::PADDED, message);
    if !zeros {
        finding = finding.with_remedy("copy or export it again: other data was written after the VHD");
    }
    OpenError::new(vhd_format(footer), finding)
}

/// A fixed VHD is exactly the disk and the footer.
fn check_fixed_size(footer: &Footer, footer_at: u64) -> Result<(), OpenError> {
    let size = footer.size();
    if size > footer_at {
        let error = DiskError::Truncated {
            what: "the VHD".to_owned(),
            needed: size.saturating_add(FOOTER),
            length: footer_at + FOOTER,
        };
        return Err(OpenError::disk(Format::FixedVhd, &error));
    }
    if size < footer_at {
        let message = format!("its footer gives a disk of {size} bytes, but {footer_at} bytes precede the footer");
        return Err(OpenError::new(Format::FixedVhd, Finding::new(&codes::FOOTER_SIZE_MISMATCH, message)));
    }
    Ok(())
}
