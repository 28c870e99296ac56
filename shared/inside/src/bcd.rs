//! Boot configuration data (BCD): which system the Windows boot manager starts, and from which partition.
//!
//! A store is a registry hive. Each object is a key `Objects\{GUID}`; each of its elements is a key `Elements\NUMBER`
//! with a value `Element`. The numbers are in Microsoft's "BCD reference"; a device is a `BCDE_DEVICE` structure, whose
//! layout is in the headers of ReactOS and matches what bcdedit writes.

use crate::bytes::{guid, le32, le64};
use crate::fs::FileReader;
use crate::hive::{Hive, HiveError, Key};

/// The boot manager's object.
const BOOT_MANAGER: &str = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
/// Elements of the boot manager: the default entry, and the entries of its menu.
const DEFAULT: &str = "23000003";
const DISPLAY_ORDER: &str = "24000001";
/// Elements of an entry: the device of the loader, and that of the system.
const DEVICE: &str = "11000001";
const OS_DEVICE: &str = "21000001";
/// Whether the boot manager, or an entry, uses Emergency Management Services on the serial port.
const EMS: [&str; 2] = ["16000020", "260000b0"];

/// The device that a boot entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// The device that the machine was started from, or one that is searched for: valid on every disk.
    Found,
    /// A GPT partition by its unique GUID, in lower case.
    Gpt {
        /// The partition's GUID.
        partition: String,
        /// The disk's GUID.
        disk: String,
    },
    /// A partition of an MBR disk by its place.
    Mbr {
        /// Offset of the partition in bytes.
        offset: u64,
        /// The disk's signature.
        disk: u32,
    },
    /// Another kind, such as a file or a network device. The number is the type.
    Other(u32),
}

/// What a store says about the default entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The object of the default entry, as `{GUID}`; `None` if there is none.
    pub default: Option<String>,
    /// Where its loader is.
    pub device: Option<Device>,
    /// Where its system is.
    pub os_device: Option<Device>,
    /// Whether it uses the serial console (EMS).
    pub ems: bool,
}

/// Reads a store.
///
/// # Errors
/// [`HiveError`] if it is damaged.
pub fn read(file: Box<dyn FileReader + '_>) -> Result<Store, HiveError> {
    let hive = Hive::open(file)?;
    let Some(objects) = hive.key("Objects")? else {
        return Err(HiveError::Damaged("it is not a boot configuration: there is no key Objects".into()));
    };
    let mut store = Store { default: None, device: None, os_device: None, ems: false };
    if let Some(manager) = objects.subkey(BOOT_MANAGER)? {
        let first = element(&manager, DISPLAY_ORDER)?.map(|value| value.strings()).transpose()?.flatten();
        let default = element(&manager, DEFAULT)?.map(|value| value.string()).transpose()?.flatten();
        store.default = default.or(first.and_then(|list| list.into_iter().next()));
    }
    let entry = store.default.as_deref().map(|name| objects.subkey(name)).transpose()?.flatten();
    let Some(entry) = entry else {
        store.default = None;
        return Ok(store);
    };
    store.device = device(&entry, DEVICE)?;
    store.os_device = device(&entry, OS_DEVICE)?;
    for number in EMS {
        let value = element(&entry, number)?;
        store.ems |= value.map(|value| value.data()).transpose()?.is_some_and(|data| data.first() == Some(&1));
    }
    Ok(store)
}

fn element<'h, 'a>(object: &Key<'h, 'a>, number: &str) -> Result<Option<crate::hive::Value<'h, 'a>>, HiveError> {
    let Some(elements) = object.subkey("Elements")? else { return Ok(None) };
    let Some(element) = elements.subkey(number)? else { return Ok(None) };
    element.value("Element")
}

fn device(object: &Key<'_, '_>, number: &str) -> Result<Option<Device>, HiveError> {
    let data = element(object, number)?.map(|value| value.data()).transpose()?;
    Ok(data.map(|data| parse_device(&data)))
}

/// Reads a device: after the GUID of an object with options come type, flags, length and padding, then the partition,
/// the type of its disk's table, and the disk.
fn parse_device(data: &[u8]) -> Device {
    const BOOT: u32 = 5;
    const PARTITION: u32 = 6;
    const LOCATE: u32 = 8;
    const GPT: u32 = 0;
    const MBR: u32 = 1;
    match le32(data, 16) {
        BOOT | LOCATE => Device::Found,
        PARTITION if data.len() >= 0x48 => match le32(data, 0x34) {
            GPT => Device::Gpt { partition: guid(&data[0x20..0x30]), disk: guid(&data[0x38..0x48]) },
            MBR => Device::Mbr { offset: le64(data, 0x20), disk: le32(data, 0x38) },
            _ => Device::Other(PARTITION),
        },
        other => Device::Other(other),
    }
}

/// Makes stores for tests.
#[cfg(test)]
pub(crate) mod build {
    use crate::hive::build::{Lists, Node, hive};

    pub(crate) const ENTRY: &str = "{11111111-2222-3333-4444-555555555555}";

    /// A device element with a partition of a GPT disk (GUIDs as stored) or of an MBR disk.
    pub(crate) fn device(kind: u32, table: u32, partition: &[u8], disk: &[u8]) -> Vec<u8> {
        let mut data = vec![0; 0x58];
        data[16] = u8::try_from(kind).unwrap();
        data[24] = 0x48;
        data[0x20..0x20 + partition.len()].copy_from_slice(partition);
        data[0x34] = u8::try_from(table).unwrap();
        data[0x38..0x38 + disk.len()].copy_from_slice(disk);
        data
    }

    /// A store whose default entry has this device.
    pub(crate) fn store(device: Vec<u8>, ems: bool) -> Node {
        let mut root = Node::default();
        let elements = |object: &str, number: &str| format!("Objects\\{object}\\Elements\\{number}");
        root.string(&elements(super::BOOT_MANAGER, super::DEFAULT), "Element", ENTRY)
            .binary(&elements(ENTRY, super::DEVICE), "Element", device.clone())
            .binary(&elements(ENTRY, super::OS_DEVICE), "Element", device);
        if ems {
            root.binary(&elements(ENTRY, super::EMS[1]), "Element", vec![1]);
        }
        root
    }

    pub(crate) fn bytes(root: &Node) -> Vec<u8> {
        hive(root, Lists::Lh)
    }
}

#[cfg(test)]
mod tests {
    use super::build::{ENTRY, bytes, device, store};
    use super::*;
    use crate::MemoryFile;

    fn read_bytes(bytes: Vec<u8>) -> Result<Store, HiveError> {
        read(Box::new(MemoryFile(bytes)))
    }

    #[test]
    fn the_default_entry_names_a_partition() {
        let partition: Vec<u8> = (0..16).collect();
        let gpt = read_bytes(bytes(&store(device(6, 0, &partition, &[0xff; 16]), true))).unwrap();
        assert_eq!(gpt.default.as_deref(), Some(ENTRY));
        let expected = Device::Gpt {
            partition: "03020100-0504-0706-0809-0a0b0c0d0e0f".into(),
            disk: "ffffffff-ffff-ffff-ffff-ffffffffffff".into(),
        };
        assert_eq!((gpt.device, gpt.os_device), (Some(expected.clone()), Some(expected)));
        assert!(gpt.ems);
        // The example of an MBR disk: offset 0x15f00000, signature b3eba8f1.
        let example = device(6, 1, &[0, 0, 0xf0, 0x15], &[0xf1, 0xa8, 0xeb, 0xb3]);
        let mbr = read_bytes(bytes(&store(example, false))).unwrap();
        assert_eq!(mbr.os_device, Some(Device::Mbr { offset: 0x15f0_0000, disk: 0xb3eb_a8f1 }));
        assert!(!mbr.ems);
    }

    #[test]
    fn the_boot_device_is_valid_on_every_disk() {
        for (kind, expected) in [(5, Device::Found), (8, Device::Found), (4, Device::Other(4))] {
            let found = read_bytes(bytes(&store(device(kind, 0, &[], &[]), false))).unwrap();
            assert_eq!(found.device, Some(expected));
        }
        assert_eq!(parse_device(&[0; 10]), Device::Other(0));
    }

    #[test]
    fn a_default_entry_that_does_not_exist_is_none() {
        let mut root = store(device(5, 0, &[], &[]), false);
        root.remove(&format!("Objects\\{ENTRY}"));
        assert_eq!(read_bytes(bytes(&root)).unwrap().default, None);
        root.remove("Objects");
        assert!(read_bytes(bytes(&root)).unwrap_err().to_string().contains("no key Objects"));
    }

    #[test]
    fn without_a_default_the_first_of_the_menu_counts() {
        let mut root = store(device(5, 0, &[], &[]), false);
        root.remove(&format!("Objects\\{BOOT_MANAGER}\\Elements\\{DEFAULT}"));
        root.strings(&format!("Objects\\{BOOT_MANAGER}\\Elements\\{DISPLAY_ORDER}"), "Element", &[ENTRY]);
        assert_eq!(read_bytes(bytes(&root)).unwrap().default.as_deref(), Some(ENTRY));
    }
}
