//! A disk whose volumes were identified and whose file systems are open.

use std::fmt;
use std::iter;
use std::sync::Arc;

use goldfleet_disk::{DiskReader, Severity};

use crate::budget::Budget;
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::fs::{FileSystem, FsError, FsKind, btrfs::Btrfs, ext::Ext, fat::Fat, ntfs::Ntfs, xfs::Xfs};
use crate::options::Options;
use crate::volumes::partitions::{BIOS_BOOT, ESP, Table};
use crate::volumes::signature::{Content, Signature};
use crate::volumes::{Volume, lvm, partitions, signature};
use crate::window::Windowed;

/// The GUID of Microsoft's reserved partition, which holds nothing.
const MSR: &str = "e3c9e316-0b5c-4db8-817d-f92df00215ae";
/// The most volumes that are examined.
const MAX_VOLUMES: usize = 256;

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
    /// The kind of partition table.
    pub table: Table,
    /// The disk's first sector, which holds the BIOS loader's first stage.
    pub boot_sector: Vec<u8>,
    /// All partitions and logical volumes.
    pub volumes: Vec<Volume>,
    /// What each of `volumes` holds.
    pub signatures: Vec<Signature>,
    /// Those whose file system could be opened.
    pub mounted: Vec<Mounted>,
    /// What the user asked for.
    pub options: Options,
    /// Limits of the inspection.
    pub budget: Arc<Budget>,
}

impl Machine {
    /// Finds the volumes of a disk and opens their file systems. What cannot be read becomes a finding.
    #[must_use]
    pub fn discover(
        disk: Arc<dyn DiskReader>,
        options: &Options,
        budget: Arc<Budget>,
        findings: &mut Findings,
    ) -> Self {
        let disk: Arc<dyn DiskReader> = Arc::new(Windowed::new(disk, Arc::clone(&budget)));
        let mut machine = Self {
            table: Table::None,
            boot_sector: vec![0; 512],
            volumes: Vec::new(),
            signatures: Vec::new(),
            mounted: Vec::new(),
            options: options.clone(),
            budget,
        };
        if disk.size() >= 512
            && let Err(error) = disk.read_at(0, &mut machine.boot_sector)
        {
            findings.add(&codes::NOT_INSPECTED, format!("the disk cannot be read: {error}"));
        }
        match partitions::read(&*disk) {
            Ok((table, list)) => {
                machine.table = table;
                for (partition, range) in list.into_iter().take(MAX_VOLUMES) {
                    let title = format!("partition {}", partition.number);
                    let mut volume = Volume::new(title, Arc::clone(&disk), iter::once(range.clone()).collect());
                    volume.partition = Some(partition);
                    if range.end > disk.size() {
                        let message = format!("{} ends beyond the end of the disk", volume.title);
                        findings.add(&codes::NOT_INSPECTED, message);
                    } else {
                        machine.add(volume, findings);
                    }
                }
                if table == Table::None {
                    let size = disk.size();
                    machine.add(
                        Volume::new("the whole disk".into(), Arc::clone(&disk), iter::once(0..size).collect()),
                        findings,
                    );
                }
            }
            Err(error) => {
                findings.add(&codes::NOT_INSPECTED, format!("the partition table cannot be read: {error}"));
            }
        }
        machine.add_logical(findings);
        machine.open_all(findings);
        machine
    }

    fn add(&mut self, volume: Volume, findings: &mut Findings) {
        match signature::detect(&volume) {
            Ok(signature) => {
                self.volumes.push(volume);
                self.signatures.push(signature);
            }
            Err(error) => {
                findings.add(&codes::NOT_INSPECTED, format!("{} cannot be read: {error}", volume.title));
            }
        }
    }

    fn add_logical(&mut self, findings: &mut Findings) {
        let mut physical = Vec::new();
        for (volume, signature) in self.volumes.iter().zip(&self.signatures) {
            if signature.content == Content::Lvm {
                match lvm::physical(volume.clone()) {
                    Ok(pv) => physical.push(pv),
                    Err(error) => {
                        findings.add(&codes::NOT_INSPECTED, format!("{}: {error}", volume.title));
                    }
                }
            }
        }
        for logical in lvm::logical(&physical).into_iter().take(MAX_VOLUMES) {
            match logical {
                Ok(volume) => self.add(volume, findings),
                Err((title, reason)) => {
                    findings.add(&codes::NOT_INSPECTED, format!("{title}: {reason}"));
                }
            }
        }
    }

    fn open_all(&mut self, findings: &mut Findings) {
        for (volume, signature) in self.volumes.iter().zip(&self.signatures) {
            let title = &volume.title;
            let kind = volume.partition.as_ref().map_or("", |p| p.kind.as_str());
            match signature.content {
                Content::Fs(fs) => match open(volume, fs, &self.budget) {
                    Ok(fs) => {
                        if let Some(reason) = &fs.info().dirty {
                            findings.add(&codes::FS_DIRTY, format!("{} on {title}: {reason}", fs.info().kind));
                        }
                        self.mounted.push(Mounted { volume: volume.clone(), fs });
                    }
                    // Reported by the checks of the loader.
                    Err(_) if is_esp(volume) => {}
                    Err(error @ FsError::CutOff { .. }) => {
                        findings.add(&codes::FS_CUT_OFF, format!("{fs} on {title}: {error}"));
                    }
                    Err(error) => {
                        findings.add(&codes::NOT_INSPECTED, format!("{fs} on {title}: {error}"));
                    }
                },
                Content::Encrypted(name) => {
                    let severity =
                        if self.options.destination.is_generalized() { Severity::Error } else { Severity::Warning };
                    findings.add(&codes::ENCRYPTED, format!("{title} is encrypted by {name}")).severity(severity);
                }
                Content::Swap { hibernated: true } => {
                    findings.add(&codes::HIBERNATED, format!("{title} holds the memory of a hibernated system"));
                }
                Content::Raid => {
                    findings.add(&codes::NOT_INSPECTED, format!("{title} is a member of a software RAID"));
                }
                Content::Other(name) => {
                    findings.add(&codes::NOT_INSPECTED, format!("{title} holds {name}, which cannot be read"));
                }
                Content::Unknown if ![ESP, BIOS_BOOT, MSR].contains(&kind) => {
                    findings.add(&codes::NOT_INSPECTED, format!("{title} holds no known file system"));
                }
                Content::Lvm | Content::Swap { .. } | Content::Empty | Content::Unknown => {}
            }
        }
    }
}

/// Whether a volume is an EFI system partition.
#[must_use]
pub fn is_esp(volume: &Volume) -> bool {
    volume.partition.as_ref().is_some_and(|p| p.kind == ESP || p.kind == "ef")
}

/// Opens the file system of a volume.
///
/// # Errors
/// [`FsError`] if it is damaged or uses unsupported features.
pub fn open(volume: &Volume, kind: FsKind, budget: &Arc<Budget>) -> Result<Box<dyn FileSystem>, FsError> {
    let (disk, budget): (Arc<dyn DiskReader>, _) = (Arc::new(volume.clone()), Arc::clone(budget));
    Ok(match kind {
        FsKind::Ext => Box::new(Ext::open(disk, budget)?),
        FsKind::Xfs => Box::new(Xfs::open(disk, budget)?),
        FsKind::Btrfs => Box::new(Btrfs::open(disk, budget)?),
        FsKind::Fat => Box::new(Fat::open(disk, budget)?),
        FsKind::Ntfs => Box::new(Ntfs::open(disk, budget)?),
    })
}
