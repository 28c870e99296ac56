//! A disk whose volumes were identified and whose file systems are open.

use std::fmt;
use std::sync::Arc;

use crate::budget::Budget;
use crate::fs::FileSystem;
use crate::options::Options;
use crate::volumes::Volume;

/// A volume with an open file system.
pub struct Mounted {
    /// The volume.
    pub volume: Volume,
    /// Its file system.
    pub fs: Box<dyn FileSystem>,
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted").field("volume", &self.volume.title).field("fs", self.fs.info()).finish()
    }
}

/// What the checks of all systems see.
#[derive(Debug)]
pub struct Machine {
    /// All partitions and logical volumes.
    pub volumes: Vec<Volume>,
    /// Those whose file system could be opened.
    pub mounted: Vec<Mounted>,
    /// What the user asked for.
    pub options: Options,
    /// Limits of the inspection.
    pub budget: Arc<Budget>,
}
