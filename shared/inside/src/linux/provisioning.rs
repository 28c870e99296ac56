//! Findings about the programs that provision a virtual machine.

use std::cmp::Ordering;

use goldfleet_disk::Severity;

use super::Linux;
use super::entries::compare;
use super::kernels::Availability;
use super::release::variable;
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::root::Root;

/// From this version on, cloud-init asks Azure's wireserver for the provisioning data if there is no disc.
const WITHOUT_DISC: &str = "21.2";

/// The file that the remedy of `cloud-init-datasource` writes. cloud-init reads the files in the order of their names.
const DATASOURCE_FILE: &str = "/etc/cloud/cloud.cfg.d/91-azure_datasource.cfg";

/// Which programs are installed, and which would provision.
#[derive(Debug, Default)]
struct Agents {
    cloud_init: Option<String>,
    cloud_init_enabled: bool,
    /// Why an installed cloud-init does not run.
    cloud_init_off: Option<Off>,
    waagent: Option<String>,
    waagent_provisions: bool,
    azure_init: bool,
    azure_init_enabled: bool,
}

/// Why an installed program does not run.
#[derive(Debug)]
struct Off {
    reason: &'static str,
    /// The file that states it.
    path: String,
    remedy: String,
}

/// Adds the findings about provisioning. Returns the programs with their versions.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) -> Vec<String> {
    let agents = find(linux);
    let provisions = agents.cloud_init_enabled || agents.waagent_provisions || agents.azure_init_enabled;
    if !provisions {
        let severity = linux.generalized(Severity::Note);
        let install = || format!("{} && cloud-init clean", linux.release.install("cloud-init"));
        let (message, path, remedy) = match (&agents.cloud_init_off, &agents.waagent) {
            (Some(off), _) => {
                (format!("cloud-init is installed, but {}", off.reason), Some(off.path.as_str()), off.remedy.clone())
            }
            (None, Some(_)) => {
                ("waagent is installed, but does not provision".into(), Some("/etc/waagent.conf"), install())
            }
            (None, None) => ("neither cloud-init, nor waagent, nor azure-init is installed".into(), None, install()),
        };
        let report = findings.add(&codes::NO_PROVISIONING, message).severity(severity).remedy(remedy);
        if let Some(path) = path {
            report.at(path);
        }
    }
    if agents.cloud_init_enabled {
        datasource(linux, &agents, findings);
    }
    if agents.waagent.is_none() {
        let remedy = linux.release.install_agent();
        findings.add(&codes::NO_AGENT, "waagent is not installed").remedy(remedy);
    }
    if provisions && linux.destination().is_generalized() {
        disc(linux, &agents, findings);
    }
    let name =
        |name: &str, version: &Option<String>| version.as_ref().map(|v| format!("{name} {v}").trim_end().to_owned());
    let azure_init = agents.azure_init.then(|| "azure-init".to_owned());
    [name("cloud-init", &agents.cloud_init), name("waagent", &agents.waagent), azure_init]
        .into_iter()
        .flatten()
        .collect()
}

fn find(linux: &Linux<'_>) -> Agents {
    let root = &linux.root;
    let mut agents = Agents::default();
    if ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"].iter().any(|path| root.exists(path)) {
        agents.cloud_init = Some(python_version(root, "cloudinit/version.py", &["_PACKAGED_VERSION", "__VERSION__"]));
        agents.cloud_init_off = cloud_init_off(linux);
        agents.cloud_init_enabled = agents.cloud_init_off.is_none();
    }
    if ["/usr/sbin/waagent", "/usr/bin/waagent"].iter().any(|path| root.exists(path)) {
        agents.waagent = Some(python_version(root, "azurelinuxagent/common/version.py", &["AGENT_VERSION"]));
        let text = root.text("/etc/waagent.conf").unwrap_or_default();
        let agent = variable(&text, "Provisioning.Agent").unwrap_or_default().to_lowercase();
        let enabled = variable(&text, "Provisioning.Enabled").is_none_or(|v| !v.to_lowercase().starts_with('n'));
        let chosen = match agent.as_str() {
            "waagent" => true,
            "cloud-init" | "disabled" => false,
            _ => !agents.cloud_init_enabled,
        };
        agents.waagent_provisions = chosen && enabled && linux.services.is_enabled(&["waagent", "walinuxagent"]);
    }
    agents.azure_init = ["/usr/bin/azure-init", "/usr/sbin/azure-init"].iter().any(|path| root.exists(path));
    agents.azure_init_enabled = agents.azure_init && linux.services.is_enabled(&["azure-init"]);
    agents
}

/// Why cloud-init does not run.
fn cloud_init_off(linux: &Linux<'_>) -> Option<Off> {
    let root = &linux.root;
    let off = |reason, path: &str, remedy: String| Some(Off { reason, path: path.to_owned(), remedy });
    let switch = "/etc/cloud/cloud-init.disabled";
    if root.exists(switch) {
        return off("it is disabled by a file", switch, format!("rm {switch}"));
    }
    if let Some(entry) = linux.boot.default_entry()
        && entry.options.split_whitespace().any(|word| word == "cloud-init=disabled")
    {
        let after = linux.release.after_change(entry);
        let remedy = format!("Remove cloud-init=disabled from the kernel command line{after}");
        return off("it is disabled on the kernel command line", &entry.source, remedy);
    }
    let units = ["cloud-init", "cloud-init-main", "cloud-init-network"];
    if let Some(unit) = units.iter().find(|unit| linux.services.is_masked(unit)) {
        let path = format!("/etc/systemd/system/{unit}.service");
        return off("its service is masked", &path, format!("systemctl unmask {unit}"));
    }
    let generators = [
        "/usr/lib/systemd/system-generators/cloud-init-generator",
        "/lib/systemd/system-generators/cloud-init-generator",
    ];
    let generated = generators.iter().any(|path| root.exists(path));
    if !generated && !linux.services.is_enabled(&units) {
        let remedy = "systemctl enable cloud-init-local cloud-init cloud-config cloud-final".to_owned();
        return off("its services are not enabled", "/etc/systemd/system", remedy);
    }
    None
}

/// The version that a Python package states.
fn python_version(root: &Root<'_>, file: &str, names: &[&str]) -> String {
    let mut folders = vec!["/usr/lib/python3/dist-packages".to_owned()];
    for base in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        let versions = root.list(base).into_iter().filter(|entry| entry.name.starts_with("python3."));
        folders.extend(versions.map(|entry| format!("{base}/{}/site-packages", entry.name)));
    }
    for folder in folders {
        if let Some(text) = root.text(&format!("{folder}/{file}")) {
            let value = |name: &&str| variable(&text, name).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
            return names.iter().find_map(value).unwrap_or_default();
        }
    }
    String::new()
}

fn datasource(linux: &Linux<'_>, agents: &Agents, findings: &mut Findings) {
    let severity = if agents.waagent_provisions { Severity::Warning } else { linux.generalized(Severity::Warning) };
    let root = &linux.root;
    let mut files: Vec<(String, String)> =
        root.text("/etc/cloud/cloud.cfg").map(|text| ("/etc/cloud/cloud.cfg".to_owned(), text)).into_iter().collect();
    files.extend(root.read_folder("/etc/cloud/cloud.cfg.d", ".cfg"));
    // A later file replaces the list of an earlier one.
    let last = files.iter().filter_map(|(path, text)| datasource_list(text).map(|list| (path, list))).next_back();
    if let Some((path, list)) = last
        && !list.iter().any(|name| name.eq_ignore_ascii_case("azure"))
    {
        let message = format!("datasource_list is [{}], without Azure", list.join(", "));
        let report = findings.add(&codes::CLOUD_INIT_DATASOURCE, message).at(path).severity(severity);
        // The file that the usual remedy writes is read before this one.
        if path.as_str() >= DATASOURCE_FILE {
            report.remedy(format!("Remove datasource_list from {path}, or add Azure to it."));
        }
    }
    let path = "/etc/cloud/ds-identify.cfg";
    for line in root.text(path).unwrap_or_default().lines().map(str::trim) {
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) else { continue };
        let value = value.trim();
        let wrong = match key.trim() {
            "policy" => value == "disabled",
            "datasource" => !value.is_empty() && !value.eq_ignore_ascii_case("azure"),
            _ => false,
        };
        if wrong {
            let message = format!("'{line}' keeps cloud-init from using Azure's datasource");
            findings
                .add(&codes::CLOUD_INIT_DATASOURCE, message)
                .at(path)
                .severity(severity)
                .remedy(format!("rm {path}"));
        }
    }
    if let Some(entry) = linux.boot.default_entry() {
        let forced = ["ds", "ci.ds", "ci.datasource"].iter().find_map(|name| entry.argument(name));
        if let Some(value) = forced.filter(|value| !value.to_lowercase().starts_with("azure")) {
            let message = format!("the kernel command line forces the datasource {value}");
            let remedy = format!("Remove it{}", linux.release.after_change(entry));
            findings.add(&codes::CLOUD_INIT_DATASOURCE, message).at(&entry.source).severity(severity).remedy(remedy);
        }
    }
}

/// The value of `datasource_list`, as a list on one line or one item per line.
fn datasource_list(text: &str) -> Option<Vec<String>> {
    let mut lines = text.lines();
    let value = lines.by_ref().find_map(|line| line.strip_prefix("datasource_list:"))?.trim();
    let clean = |item: &str| item.trim().trim_matches(['"', '\'', '[', ']', ' ']).to_owned();
    let mut items = Vec::new();
    if value.starts_with('[') {
        let mut all = value.to_owned();
        while !all.contains(']') {
            match lines.next() {
                Some(line) => all.push_str(line),
                None => break,
            }
        }
        let inside = all.split(']').next().unwrap_or("");
        items.extend(inside.split(',').map(clean));
    } else {
        for line in lines {
            match line.trim_start().strip_prefix('-') {
                Some(item) => items.push(clean(item)),
                None if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
                None => break,
            }
        }
    }
    items.retain(|item| !item.is_empty());
    Some(items)
}

/// The provisioning data is on a disc with a UDF file system.
fn disc(linux: &Linux<'_>, agents: &Agents, findings: &mut Findings) {
    let version = agents.cloud_init.as_deref().unwrap_or("");
    let without = agents.cloud_init_enabled && !version.is_empty() && compare(version, WITHOUT_DISC) != Ordering::Less;
    if without || agents.azure_init_enabled {
        return;
    }
    let Some(kernel) = linux.default_kernel().or(linux.kernels.first()).filter(|kernel| kernel.exists) else { return };
    let missing: Vec<&str> =
        ["sr_mod", "udf"].into_iter().filter(|module| kernel.availability(module) == Availability::Missing).collect();
    if !missing.is_empty() {
        let severity = if agents.cloud_init_enabled { Severity::Warning } else { Severity::Error };
        let message = format!("kernel {} has no driver {}", kernel.version, missing.join(", "));
        findings.add(&codes::DVD_OFF, message).at(format!("/usr/lib/modules/{}", kernel.version)).severity(severity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasource_lists_in_all_forms() {
        let list = |text: &str| datasource_list(text).map(|items| items.join(","));
        assert_eq!(list("datasource_list: [ Azure, None ]\n").as_deref(), Some("Azure,None"));
        assert_eq!(
            list("a: b\ndatasource_list:\n  - NoCloud\n  # x\n  - 'Ec2'\nnext: 1\n").as_deref(),
            Some("NoCloud,Ec2")
        );
        assert_eq!(
            list("datasource_list: [ NoCloud,\n  ConfigDrive,\n  Azure ]\n").as_deref(),
            Some("NoCloud,ConfigDrive,Azure")
        );
        assert_eq!(list("datasource_list: []\n").as_deref(), Some(""));
        assert_eq!(list("# datasource_list: [ Ec2 ]\n"), None);
    }
}
