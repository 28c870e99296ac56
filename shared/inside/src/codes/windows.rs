//! Codes that only a Windows system can have.

use super::Code;

/// All Windows codes.
pub static CODES: &[&Code] = &[];
