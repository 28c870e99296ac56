//! The operating system that a check found on a disk.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::manifest::Generation;

/// The maximum number of kernels, and of agents, that are stored, because the content of an image determines their
/// number.
const MAX_ITEMS: usize = 8;

/// The most characters of a stored text.
const MAX_TEXT: usize = 200;

/// The processor architecture of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    X64,
    /// 64-bit ARM.
    Arm64,
    /// 32-bit x86, which Azure does not boot.
    X86,
}

impl Architecture {
    /// The name to show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "Arm64",
            Self::X86 => "32-bit x86",
        }
    }
}

/// The operating system of a disk. Its texts come from the disk; the check has escaped them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// `linux` or `windows`.
    pub family: String,
    /// `ID` of os-release, or `windows`.
    pub id: String,
    /// The name to show: `PRETTY_NAME` of os-release, or Windows' product name.
    pub name: String,
    /// `VERSION_ID` of os-release, or Windows' build with its revision.
    pub version: String,
    /// Versions of the installed kernels, the default one first. Empty for Windows.
    pub kernels: Vec<String>,
    /// The programs that provision a virtual machine, with versions: `cloud-init 25.1.1`, `waagent 2.9.1.1`.
    pub agents: Vec<String>,
    /// The generations whose firmware finds a loader on the disk.
    pub generations: Vec<Generation>,
    /// The processor architecture. None if the disk has no kernel that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
}

impl System {
    /// The system as a row stores it: with at most 8 kernels and agents, and at most 200 characters in each text. A row
    /// has a maximum size, and the content of the disk determines the lengths.
    #[must_use]
    pub fn to_stored(&self) -> Self {
        let short = |text: &String| text.chars().take(MAX_TEXT).collect::<String>();
        let items = |texts: &[String]| texts.iter().take(MAX_ITEMS).map(short).collect();
        Self {
            family: short(&self.family),
            id: short(&self.id),
            name: short(&self.name),
            version: short(&self.version),
            kernels: items(&self.kernels),
            agents: items(&self.agents),
            generations: self.generations.clone(),
            architecture: self.architecture,
        }
    }
}

/// One line: name, version, default kernel, agents, architecture, generations.
impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![self.name.clone()];
        if !self.version.is_empty() && !self.name.contains(&self.version) {
            parts.push(format!("version {}", self.version));
        }
        parts.extend(self.kernels.first().map(|kernel| format!("kernel {kernel}")));
        parts.extend(self.agents.iter().cloned());
        parts.extend(self.architecture.map(|architecture| architecture.name().to_owned()));
        let generations: Vec<&str> = self.generations.iter().map(|generation| generation.as_str()).collect();
        if !generations.is_empty() {
            parts.push(format!("generation {}", generations.join(" and ")));
        }
        parts.retain(|part| !part.is_empty());
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> System {
        System {
            family: "linux".into(),
            id: "debian".into(),
            name: "Debian GNU/Linux 12 (bookworm)".into(),
            version: "12".into(),
            kernels: vec!["6.1.0-13-cloud-amd64".into(), "6.1.0-12-cloud-amd64".into()],
            agents: vec!["cloud-init 22.4.2".into(), "waagent 2.9.1.1".into()],
            generations: vec![Generation::V1, Generation::V2],
            architecture: Some(Architecture::X64),
        }
    }

    #[test]
    fn a_system_is_shown_in_one_line() {
        assert_eq!(
            debian().to_string(),
            "Debian GNU/Linux 12 (bookworm), kernel 6.1.0-13-cloud-amd64, cloud-init 22.4.2, waagent 2.9.1.1, x64, \
             generation v1 and v2"
        );
        let windows = System { name: "Windows Server 2022".into(), version: "20348.2".into(), ..System::default() };
        assert_eq!(windows.to_string(), "Windows Server 2022, version 20348.2");
        assert_eq!(System::default().to_string(), "");
    }

    #[test]
    fn a_stored_system_has_a_maximum_size() {
        let long = "ü".repeat(1000);
        let kernels = vec![long.clone(); 1000];
        let huge = System { name: long, agents: kernels.clone(), kernels, ..debian() };
        let stored = serde_json::to_string(&huge.to_stored()).unwrap();
        // Azure: a property of a table entity has at most 64 KiB, and 32 KiB characters.
        assert!(stored.len() < 16_000, "{}", stored.len());
        assert_eq!(debian().to_stored(), debian());
    }

    #[test]
    fn fields_of_later_releases_are_ignored_and_missing_ones_are_empty() {
        let read: System = serde_json::from_str(r#"{"name":"x","later":1,"generations":["v2"]}"#).unwrap();
        assert_eq!(read, System { name: "x".into(), generations: vec![Generation::V2], ..System::default() });
        let json = serde_json::to_value(debian()).unwrap();
        assert_eq!(json["architecture"], "x64");
        assert_eq!(serde_json::from_value::<System>(json).unwrap(), debian());
    }
}
