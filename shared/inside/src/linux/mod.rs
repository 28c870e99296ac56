//! Checks of Linux systems.

use crate::finding::Findings;
use crate::machine::Machine;
use crate::options::System;

/// Checks the Linux system of a disk. Returns `None`, and adds nothing, if the disk has none.
pub fn check(_machine: &Machine, _findings: &mut Findings) -> Option<System> {
    None
}
