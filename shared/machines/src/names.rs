//! Names of a clone and its disks.
//!
//! The template of the names of disks may contain `{machine}` (the name of the clone), `{disk}` (the name of the source
//! disk) and `{lun}` (the LUN, or `os`).

use goldfleet_model::ids::ResourceName;

use crate::source::SourceDisk;

/// The largest number of characters in the name of a machine. Source: Azure, naming rules of Microsoft.Compute.
const MAX_MACHINE_NAME: usize = 64;

/// Why a name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName(pub String);

/// Checks the name of a machine. Source: Azure, naming rules of Microsoft.Compute: 1 to 64 letters, digits, `-`, `_`
/// and `.`; it does not begin with an underscore, and does not end with a period or a hyphen.
///
/// # Errors
/// [`InvalidName`] with the rule.
pub fn machine(name: &str) -> Result<ResourceName, InvalidName> {
    let rule = || {
        InvalidName(format!(
            "{name:?} is not the name of a machine: use 1 to {MAX_MACHINE_NAME} letters, digits, '-', '_' and '.', \
             beginning and ending with a letter or digit"
        ))
    };
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_valid = name.len() <= MAX_MACHINE_NAME && edge(name.chars().next()) && edge(name.chars().last());
    name.parse().ok().filter(|_| is_valid).ok_or_else(rule)
}

/// The largest number of characters in the name of an image. Source: Azure, naming rules of Microsoft.Compute.
const MAX_IMAGE_NAME: usize = 80;

/// Checks the name of a managed image. Source: Azure, naming rules of Microsoft.Compute: 1 to 80 letters, digits, `_`,
/// `.` and `-`; the first character is a letter or digit, the last a letter, digit or `_`.
///
/// # Errors
/// [`InvalidName`] with the rule.
pub fn image(name: &str) -> Result<ResourceName, InvalidName> {
    let rule = || {
        InvalidName(format!(
            "{name:?} is not the name of an image: use 1 to {MAX_IMAGE_NAME} letters, digits, '-', '_' and '.', beginning with a \
             letter or digit, and ending with one or with '_'"
        ))
    };
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let last = name.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    name.parse().ok().filter(|_| first && last && name.len() <= MAX_IMAGE_NAME).ok_or_else(rule)
}

/// The name of a disk of the clone.
///
/// # Errors
/// [`InvalidName`] if the template has another placeholder, or if the result is not the name of a disk.
pub fn disk(template: &str, machine: &str, source: &SourceDisk) -> Result<ResourceName, InvalidName> {
    let name = template
        .replace("{machine}", machine)
        .replace("{disk}", source.id.name.as_str())
        .replace("{lun}", &source.lun());
    if name.contains(['{', '}']) {
        let message =
            format!("the template {template:?} of disk names may contain {{machine}}, {{disk}} and {{lun}} only");
        return Err(InvalidName(message));
    }
    name.parse().map_err(|error| InvalidName(format!("the template {template:?} gives {name:?}: {error}")))
}
