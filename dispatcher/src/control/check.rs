//! The check of a disk image before the first byte is sent: the container and the partition table, then the operating
//! system inside.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use goldfleet_disk::{
    AzureDisk, CheckOptions, Compression, DiskPurpose, Finding, Report, Severity, check_opened, codes,
};
use goldfleet_inside::codes::linux::NOT_INSPECTED;
use goldfleet_inside::{Destination, Options, Requirements, inspect};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::manifest::OsType;
use goldfleet_model::system::System;
use goldfleet_sources::{ArtifactSource, DataDisk};
use serde::Serialize;

use crate::control::suggest::similar;

/// Whether the operating system inside the disk is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inside {
    /// Not at all.
    #[default]
    No,
    /// It is checked. What cannot be inspected is a warning.
    Auto,
    /// It is checked. What cannot be inspected is an error.
    Require,
}

impl Inside {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Require, Self::No];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Auto => "auto",
            Self::Require => "require",
        }
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error for a text that is not a value of [`Inside`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not one of auto, require and no")]
pub struct InvalidInside(String);

impl FromStr for Inside {
    type Err = InvalidInside;

    fn from_str(text: &str) -> Result<Self, InvalidInside> {
        Self::ALL.into_iter().find(|inside| inside.name() == text).ok_or_else(|| InvalidInside(text.to_owned()))
    }
}

/// Checks the code of a finding that an operator accepts.
///
/// # Errors
/// A message, if there is no such code, or if its findings cannot be accepted because they are facts and not
/// deductions.
pub fn check_acceptable(text: &str) -> Result<(), String> {
    match codes::find(text) {
        Some(code) if code.deduced => return Ok(()),
        Some(_) => {
            return Err(format!(
                "'{text}' cannot be accepted: it is a fact about the disk, not a deduction from its content"
            ));
        }
        None if goldfleet_inside::codes::find(text).is_some() => return Ok(()),
        None => {}
    }
    let deduced = codes::ALL.iter().filter(|code| code.deduced).map(|code| code.name);
    let meant = similar(text, deduced.chain(goldfleet_inside::codes::all().map(|code| code.code)));
    let suggestion = meant.map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"));
    Err(format!("there is no code '{text}'{suggestion} ('goldfleet explain' lists the codes)"))
}

/// What to check of an image, and how.
#[derive(Debug, Clone, Default)]
pub struct ImageChecks {
    /// How to open the image, and how to check its container and partition table. Accepted codes also apply to the
    /// operating system.
    pub disk: CheckOptions,
    /// Whether the operating system is checked.
    pub inside: Inside,
    /// The operating system that the operator states, if any.
    pub os: Option<OsType>,
    /// What the disk becomes.
    pub destination: Destination,
    /// What the virtual machines have.
    pub requirements: Requirements,
}

/// What was found out about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageReport {
    /// The report about the disk, with the findings about the operating system among its findings.
    #[serde(flatten)]
    pub disk: Report,
    /// The operating system, if it was checked and one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// The reports about its data disks, in the order of their LUNs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_disks: Vec<DataDiskReport>,
}

/// What was found out about a data disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataDiskReport {
    /// The LUN of the disk.
    pub lun: u8,
    /// The report about the disk.
    #[serde(flatten)]
    pub disk: Report,
}

impl ImageReport {
    /// Whether the disks can become an OS disk and its data disks.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.reports().all(|(_, report)| report.is_usable())
    }

    /// The reports about all disks, each with the role of the disk.
    pub fn reports(&self) -> impl Iterator<Item = (DiskPurpose, &Report)> {
        let data = self.data_disks.iter().map(|data| (DiskPurpose::DataDisk, &data.disk));
        std::iter::once((DiskPurpose::OsDisk, &self.disk)).chain(data)
    }

    /// The findings about all disks.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.reports().flat_map(|(_, report)| &report.findings)
    }

    /// The disks that cannot be used, for people.
    #[must_use]
    pub fn refusal(&self) -> String {
        let unusable = self.reports().filter(|(_, report)| !report.is_usable());
        let refusals = unusable.map(|(purpose, report)| {
            let article = if purpose == DiskPurpose::OsDisk { "an" } else { "a" };
            format!("{} cannot be used as {article} {purpose}", report.file.display())
        });
        refusals.collect::<Vec<_>>().join("; ")
    }
}

impl From<Report> for ImageReport {
    fn from(disk: Report) -> Self {
        Self { disk, system: None, data_disks: Vec::new() }
    }
}

/// A report with the disk that it is about.
#[derive(Debug, Clone)]
pub struct CheckedImage {
    /// What was found.
    pub report: ImageReport,
    /// The disk as Azure accepts it, if the image could be opened.
    pub disk: Option<AzureDisk>,
    /// The data disks as Azure accepts them, in the order of their LUNs. None for a disk that could not be opened.
    pub data_disks: Vec<(DiskRole, Option<AzureDisk>)>,
}

/// Checks the disks of a source. The source is not changed. Blocks.
#[must_use]
pub fn check_image(source: &dyn ArtifactSource, checks: &ImageChecks) -> CheckedImage {
    let artifact = source.open(&checks.disk.open);
    let checked = check_opened(source.location(), artifact.os_disk, &checks.disk);
    let mut report = ImageReport::from(checked.report);
    if let Some(disk) = checked.disk.as_ref().filter(|_| checks.inside != Inside::No) {
        inspect_system(disk, checks, &mut report);
    }
    let mut data_disks = Vec::with_capacity(artifact.data_disks.len());
    let of_data = CheckOptions { becomes: DiskPurpose::DataDisk, ..checks.disk.clone() };
    for DataDisk { lun, location, disk } in artifact.data_disks {
        let checked = check_opened(&location, disk, &of_data);
        report.data_disks.push(DataDiskReport { lun, disk: checked.report });
        data_disks.push((DiskRole::Data(lun), checked.disk));
    }
    CheckedImage { report, disk: checked.disk, data_disks }
}

fn inspect_system(disk: &AzureDisk, checks: &ImageChecks, report: &mut ImageReport) {
    // A compressed image is decompressed again from its beginning for each read that goes back.
    if let Some(compression) = report.disk.compression.filter(|_| checks.inside == Inside::Auto) {
        report.disk.findings.push(compressed(compression));
        return sort(report);
    }
    let options = Options {
        generation: report.disk.generation,
        os: checks.os,
        destination: checks.destination,
        requirements: checks.requirements,
        require: checks.inside == Inside::Require,
        accept: checks.disk.accept.clone(),
        ..Options::default()
    };
    let inspection = inspect(Arc::new(disk.clone()), &options);
    report.system = inspection.system;
    report.disk.findings.extend(inspection.findings);
    sort(report);
}

fn compressed(compression: Compression) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: NOT_INSPECTED.code,
        message: format!("the image is compressed with {compression}: an inspection decompresses it many times"),
        remedy: format!("{}; or wait for it: --inside require", compression.remedy()),
        path: None,
    }
}

fn sort(report: &mut ImageReport) {
    report.disk.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
}
