//! The registry of an installed Windows, as two hives.

use crate::hive::{Hive, HiveError, Key, Value};

/// The hives SYSTEM and SOFTWARE.
pub(super) struct Registry<'a> {
    system: Hive<'a>,
    software: Option<Hive<'a>>,
    /// The name of the current control set, such as `ControlSet001`.
    control_set: String,
}

/// The registration of a driver or service.
pub(super) struct Service {
    /// When it starts: 0 at boot, 1 system, 2 automatically, 3 on demand, 4 never.
    pub(super) start: Option<u32>,
    /// What replaces `start` on this machine.
    pub(super) start_override: Option<u32>,
    /// The program or driver.
    pub(super) image: Option<String>,
}

/// Services that never start.
pub(super) const DISABLED: u32 = 4;

impl<'a> Registry<'a> {
    /// Finds the current control set.
    pub(super) fn new(system: Hive<'a>, software: Option<Hive<'a>>) -> Result<Self, HiveError> {
        let select = system.key("Select")?;
        let number = select.map(|key| dword(&key, "Current")).transpose()?.flatten();
        let Some(number) = number else {
            return Err(HiveError::Damaged("it states no current control set (Select\\Current)".into()));
        };
        let control_set = format!("ControlSet{number:03}");
        if system.key(&control_set)?.is_none() {
            return Err(HiveError::Damaged(format!("its current control set {control_set} is missing")));
        }
        Ok(Self { system, software, control_set })
    }

    /// A key in the current control set.
    pub(super) fn current(&self, path: &str) -> Result<Option<Key<'_, 'a>>, HiveError> {
        self.system.key(&format!("{}\\{path}", self.control_set))
    }

    /// A key of SOFTWARE; `None` also if the hive cannot be read.
    pub(super) fn software(&self, path: &str) -> Result<Option<Key<'_, 'a>>, HiveError> {
        self.software.as_ref().map(|hive| hive.key(path)).transpose().map(Option::flatten)
    }

    /// Whether SOFTWARE can be read.
    pub(super) fn has_software(&self) -> bool {
        self.software.is_some()
    }

    /// A number in the current control set.
    pub(super) fn current_dword(&self, path: &str, name: &str) -> Result<Option<u32>, HiveError> {
        self.current(path)?.map(|key| dword(&key, name)).transpose().map(Option::flatten)
    }

    /// The driver or service of a name.
    pub(super) fn service(&self, name: &str) -> Result<Option<Service>, HiveError> {
        let Some(key) = self.current(&format!("Services\\{name}"))? else { return Ok(None) };
        let replaced = key.subkey("StartOverride")?.map(|key| dword(&key, "0")).transpose()?.flatten();
        Ok(Some(Service { start: dword(&key, "Start")?, start_override: replaced, image: string(&key, "ImagePath")? }))
    }
}

impl Service {
    /// Why the driver does not start at boot; `None` if it does.
    pub(super) fn not_at_boot(&self) -> Option<String> {
        match (self.start, self.start_override) {
            (Some(0), None | Some(0)) => None,
            (Some(0), Some(replaced)) => Some(format!("StartOverride\\0 is {replaced}, not 0")),
            (Some(start), _) => Some(format!("Start is {start}, not 0")),
            (None, _) => Some("it has no value Start".to_owned()),
        }
    }

    /// Whether it never starts.
    pub(super) fn is_disabled(&self) -> bool {
        self.start == Some(DISABLED)
    }
}

/// A number of a key; `None` also if the value has another type.
pub(super) fn dword(key: &Key<'_, '_>, name: &str) -> Result<Option<u32>, HiveError> {
    with(key, name, Value::dword)
}

/// A string of a key; `None` also if the value has another type.
pub(super) fn string(key: &Key<'_, '_>, name: &str) -> Result<Option<String>, HiveError> {
    with(key, name, Value::string)
}

/// The strings of a key's value, which may be one or a list.
pub(super) fn strings(key: &Key<'_, '_>, name: &str) -> Result<Vec<String>, HiveError> {
    Ok(with(key, name, Value::strings)?.unwrap_or_default())
}

fn with<'h, 'a, T>(
    key: &Key<'h, 'a>,
    name: &str,
    read: impl FnOnce(&Value<'h, 'a>) -> Result<Option<T>, HiveError>,
) -> Result<Option<T>, HiveError> {
    key.value(name)?.map(|value| read(&value)).transpose().map(Option::flatten)
}
