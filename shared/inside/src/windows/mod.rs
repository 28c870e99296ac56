//! Checks of Windows systems.

use crate::finding::Findings;
use crate::machine::Machine;
use crate::options::System;

/// Checks the Windows system of a disk. Returns `None`, and adds nothing, if the disk has none.
pub fn check(_machine: &Machine, _findings: &mut Findings) -> Option<System> {
    None
}
