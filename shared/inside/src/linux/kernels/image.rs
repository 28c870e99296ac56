//! The header of a kernel: its version and architecture.
//!
//! The layout of x86 kernels is in the kernel's `Documentation/arch/x86/boot.rst`, that of Arm64 kernels in
//! `Documentation/arch/arm64/booting.rst`.

use goldfleet_model::system::Architecture;

use crate::bytes::{le16, le32};
use crate::fs::FileReader;
use crate::fs::part::Part;
use crate::pe::{Machine, Pe};
use crate::root::Root;
use crate::text::until_zero;

/// Bytes of the kernel that are read. The version's text is in the first 64 KiB: its offset has 16 bits.
const HEAD: usize = 66 << 10;

/// What a kernel's header states.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) exists: bool,
    pub(super) version: Option<String>,
    pub(super) architecture: Option<Architecture>,
}

/// Reads the header of a kernel, or of the kernel in a unified kernel image.
pub(super) fn read(root: &Root<'_>, path: &str, unified: bool) -> Image {
    let Ok(mut file) = root.open(path) else { return Image::default() };
    let pe = Pe::read(&mut *file).ok();
    let machine = pe.as_ref().and_then(|pe| match pe.machine {
        Machine::X64 => Some(Architecture::X64),
        Machine::Arm64 => Some(Architecture::Arm64),
        Machine::X86 => Some(Architecture::X86),
        Machine::Other(_) => None,
    });
    let mut image = Image { exists: true, version: None, architecture: machine };
    if unified && let Some(pe) = pe {
        image.version =
            pe.content(&mut *file, ".uname", 256).ok().flatten().map(|bytes| until_zero(&bytes).trim().to_owned());
        if let Some(section) = pe.section(".linux") {
            let range = section.offset..section.offset.saturating_add(section.size);
            from_header(&head(&mut Part::new(&mut *file, range)), &mut image);
        }
    } else {
        from_header(&head(&mut *file), &mut image);
    }
    image
}

fn head(file: &mut dyn FileReader) -> Vec<u8> {
    let mut head = vec![0; HEAD];
    let mut length = 0;
    while length < head.len() {
        match file.read_at(length as u64, &mut head[length..]) {
            Ok(count) if count > 0 => length += count,
            _ => break,
        }
    }
    head.truncate(length);
    head
}

fn from_header(head: &[u8], image: &mut Image) {
    const SETUP_64_BIT: u16 = 1;
    if head.get(0x202..0x206) == Some(b"HdrS") {
        let at = usize::from(le16(head, 0x20e)) + 0x200;
        let words = until_zero(head.get(at..).unwrap_or(&[]).get(..256).unwrap_or(&[]));
        let version = words.split_whitespace().next().filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
        image.version = image.version.take().or_else(|| version.map(str::to_owned));
        // The flag exists since version 2.12 of the boot protocol.
        if image.architecture.is_none() && le16(head, 0x206) >= 0x20c {
            let is_64_bit = le16(head, 0x236) & SETUP_64_BIT != 0;
            image.architecture = Some(if is_64_bit { Architecture::X64 } else { Architecture::X86 });
        }
    }
    if le32(head, 56) == u32::from_le_bytes(*b"ARM\x64") {
        image.architecture = Some(Architecture::Arm64);
    }
}
