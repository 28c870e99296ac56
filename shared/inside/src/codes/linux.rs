//! Codes of Linux systems, and codes that any system can have.

use goldfleet_disk::Severity;

use super::Code;

/// Something could not be inspected.
pub static NOT_INSPECTED: Code = Code {
    code: "not-inspected",
    severity: Severity::Warning,
    title: "the inside of the disk could not be inspected",
    explanation: "The check could not look inside the disk or a part of it, for the reason that the message states. Nothing \
                  is known about what was not inspected. With `--inside require` this is an error.",
    remedy: "Convert the image to a layout that can be inspected, or boot a copy of the image and check it by hand.",
};

/// All Linux codes and general codes.
pub static CODES: &[&Code] = &[&NOT_INSPECTED];
