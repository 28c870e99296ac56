//! Names of devices in configurations, and the volumes that they mean.

use crate::machine::Machine;
use crate::volumes::Volume;

/// What a device's name in a configuration means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Device {
    /// A volume of this disk, by its index, and whether the name is a stable one.
    Found(usize),
    /// An identifier that no volume of this disk has.
    Missing,
    /// A name that depends on the order of devices or on the hypervisor: `/dev/sda1`, `/dev/vda1`.
    Unstable {
        /// Such devices usually exist on Azure.
        exists: bool,
    },
    /// A mapper name or volume group that is not on this disk.
    MissingMapper,
    /// Not a local block device: `tmpfs`, `server:/export`, `/swapfile`.
    Other,
}

/// The names of a volume: its identifiers and labels.
#[derive(Debug)]
pub(super) struct Names {
    uuid: String,
    label: String,
    part_uuid: String,
    part_label: String,
    /// Names under `/dev/mapper` and `/dev/GROUP/`.
    mapper: Option<(String, String)>,
}

/// The names of all volumes of a machine, in their order.
pub(super) fn names(machine: &Machine) -> Vec<Names> {
    let volumes = machine.volumes.iter().zip(&machine.signatures);
    volumes
        .map(|(volume, signature)| {
            let fs = machine.mounted.iter().find(|m| same(&m.volume, volume)).map(|m| m.fs.info());
            let partition = volume.partition.as_ref().filter(|_| volume.lvm.is_none());
            Names {
                uuid: fs.map_or(&signature.uuid, |info| &info.uuid).to_lowercase(),
                label: fs.map_or(&signature.label, |info| &info.label).clone(),
                part_uuid: partition.map(|p| p.part_uuid.to_lowercase()).unwrap_or_default(),
                part_label: partition.map(|p| p.name.clone()).unwrap_or_default(),
                mapper: volume.lvm.as_ref().map(|(group, name)| {
                    let escape = |text: &str| text.replace('-', "--");
                    (format!("{}-{}", escape(group), escape(name)), format!("{group}/{name}"))
                }),
            }
        })
        .collect()
}

/// Whether two values are the same volume of the disk.
pub(super) fn same(a: &Volume, b: &Volume) -> bool {
    a.title == b.title && a.start() == b.start()
}

/// What a name means. `opened` are names under `/dev/mapper` that crypttab opens.
pub(super) fn find(names: &[Names], spec: &str, opened: &[String]) -> Device {
    let position = |test: &dyn Fn(&Names) -> bool| names.iter().position(test);
    let by = |found: Option<usize>| found.map_or(Device::Missing, Device::Found);
    let spec = spec.trim_matches('"');
    let (tag, value) = split(spec);
    let lower = value.to_lowercase();
    match tag {
        "UUID" => by(position(&|n| !lower.is_empty() && n.uuid == lower)),
        "PARTUUID" => {
            // `PARTUUID=X/PARTNROFF=n` names another partition of the same table.
            let lower = lower.split('/').next().unwrap_or_default();
            by(position(&|n| !lower.is_empty() && n.part_uuid == lower))
        }
        "LABEL" => by(position(&|n| !value.is_empty() && n.label == value)),
        "PARTLABEL" => by(position(&|n| !value.is_empty() && n.part_label == value)),
        "/dev" => path(names, &value, opened),
        _ => Device::Other,
    }
}

/// The tag and value of a name: `UUID=x` and `/dev/disk/by-uuid/x` are the same.
fn split(spec: &str) -> (&str, String) {
    const LINKS: [(&str, &str); 4] = [
        ("/dev/disk/by-uuid/", "UUID"),
        ("/dev/disk/by-label/", "LABEL"),
        ("/dev/disk/by-partuuid/", "PARTUUID"),
        ("/dev/disk/by-partlabel/", "PARTLABEL"),
    ];
    if let Some((tag, value)) = spec.split_once('=') {
        return (tag, value.trim_matches('"').to_owned());
    }
    for (prefix, tag) in LINKS {
        if let Some(value) = spec.strip_prefix(prefix) {
            return (tag, value.replace("\\x20", " "));
        }
    }
    match spec.strip_prefix("/dev/") {
        Some(rest) => ("/dev", rest.to_owned()),
        None => ("", spec.to_owned()),
    }
}

/// What a path below `/dev` means.
fn path(names: &[Names], name: &str, opened: &[String]) -> Device {
    const NEVER: [&str; 5] = ["vd", "xvd", "hd", "nvme", "loop"];
    // A volume group's name may begin in the same way, but has a volume's name behind it.
    let kernel_name = |prefix: &str, after: fn(char) -> bool| {
        !name.contains('/') && name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(after))
    };
    if kernel_name("sd", |c| c.is_ascii_lowercase()) {
        return Device::Unstable { exists: true };
    }
    let letters = |prefix: &&str| match *prefix {
        "nvme" | "loop" => kernel_name(prefix, |c| c.is_ascii_digit()),
        _ => kernel_name(prefix, |c| c.is_ascii_lowercase()),
    };
    if NEVER.iter().any(letters) {
        return Device::Unstable { exists: false };
    }
    if name.starts_with("disk/by-path/") || name.starts_with("disk/by-id/") {
        return Device::Unstable { exists: false };
    }
    if let Some(mapper) = name.strip_prefix("mapper/") {
        if opened.iter().any(|known| known == mapper) {
            return Device::Other;
        }
        let found = names.iter().position(|n| n.mapper.as_ref().is_some_and(|(flat, _)| flat == mapper));
        return found.map_or(Device::MissingMapper, Device::Found);
    }
    if let Some(found) = names.iter().position(|n| n.mapper.as_ref().is_some_and(|(_, path)| path == name)) {
        return Device::Found(found);
    }
    // `/dev/GROUP/NAME`: the folders that are not volume groups are few.
    let group = name.split_once('/').map(|(group, _)| group);
    match group {
        Some("disk" | "block" | "md" | "zvol" | "root") | None => Device::Other,
        Some(_) => Device::MissingMapper,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn volume(uuid: &str, label: &str, part_uuid: &str, mapper: Option<(&str, &str)>) -> Names {
        Names {
            uuid: uuid.into(),
            label: label.into(),
            part_uuid: part_uuid.into(),
            part_label: String::new(),
            mapper: mapper.map(|(flat, path)| (flat.to_owned(), path.to_owned())),
        }
    }

    #[test]
    fn names_are_found_or_not() {
        let names = [
            volume("aaaa-1", "root", "p-1", None),
            volume("", "", "p-2", None),
            volume("bbbb", "", "", Some(("my--vg-root", "my-vg/root"))),
        ];
        let opened = ["luks-x".to_owned()];
        let cases = [
            ("UUID=aaaa-1", Device::Found(0)),
            ("UUID=\"AAAA-1\"", Device::Found(0)),
            ("UUID=cccc", Device::Missing),
            ("UUID=", Device::Missing),
            ("LABEL=root", Device::Found(0)),
            ("LABEL=", Device::Missing),
            ("PARTUUID=P-2", Device::Found(1)),
            ("/dev/disk/by-uuid/bbbb", Device::Found(2)),
            ("/dev/mapper/my--vg-root", Device::Found(2)),
            ("/dev/my-vg/root", Device::Found(2)),
            ("/dev/mapper/other-root", Device::MissingMapper),
            ("/dev/other/root", Device::MissingMapper),
            ("/dev/mapper/luks-x", Device::Other),
            ("/dev/sda1", Device::Unstable { exists: true }),
            ("/dev/vda1", Device::Unstable { exists: false }),
            ("/dev/nvme0n1p1", Device::Unstable { exists: false }),
            ("/dev/loop0", Device::Unstable { exists: false }),
            ("/dev/vda-data/x", Device::MissingMapper),
            ("tmpfs", Device::Other),
            ("server:/export", Device::Other),
            ("/swapfile", Device::Other),
            ("/dev/hdfs/x", Device::MissingMapper),
        ];
        for (spec, expected) in cases {
            assert_eq!(find(&names, spec, &opened), expected, "{spec}");
        }
    }
}
