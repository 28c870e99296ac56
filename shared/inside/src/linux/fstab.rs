//! `/etc/fstab` and `/etc/crypttab`.

/// An entry of fstab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The device or source.
    pub(super) spec: String,
    /// The folder, without a `/` at the end, or `none`.
    pub(super) point: String,
    /// The type of the file system.
    pub(super) kind: String,
    /// The options.
    pub(super) options: Vec<String>,
    /// The line's number, from 1.
    pub(super) line: usize,
}

impl Entry {
    /// Whether an option is set.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }

    /// The value of an option.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        self.options.iter().find_map(|known| known.strip_prefix(option)?.strip_prefix('='))
    }

    /// Whether the boot waits for the device.
    pub(super) fn is_required(&self) -> bool {
        !self.has("nofail") && !self.has("noauto")
    }

    /// The subvolume that is mounted, with a `/` at the start.
    pub(super) fn subvolume(&self) -> Option<String> {
        self.value("subvol").map(|path| format!("/{}", path.trim_start_matches('/')))
    }
}

/// The most entries that are read.
const MAX_ENTRIES: usize = 1000;

/// Reads the entries of a file.
pub(super) fn parse(text: &str) -> Vec<Entry> {
    let entry = |(index, line): (usize, &str)| {
        let mut fields = line.split_whitespace();
        let spec = fields.next().filter(|spec| !spec.starts_with('#'))?;
        let point = unescape(fields.next()?);
        let kind = fields.next().unwrap_or("auto").to_owned();
        let options = fields.next().unwrap_or("defaults").split(',').map(str::to_owned).collect();
        let trimmed = point.trim_end_matches('/');
        let point = if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() };
        Some(Entry { spec: unescape(spec), point, kind, options, line: index + 1 })
    };
    text.lines().enumerate().filter_map(entry).take(MAX_ENTRIES).collect()
}

/// Blanks in names are written as octal numbers.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// An entry of crypttab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crypt {
    /// The name under `/dev/mapper`.
    pub(super) name: String,
    /// The device.
    pub(super) spec: String,
    /// Whether the boot waits for it.
    pub(super) required: bool,
}

/// Reads the entries of crypttab.
pub(super) fn parse_crypttab(text: &str) -> Vec<Crypt> {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next().filter(|name| !name.starts_with('#'))?.to_owned();
        let spec = fields.next()?.to_owned();
        let options = fields.nth(1).unwrap_or("");
        let required = !options.split(',').any(|o| o == "nofail" || o == "noauto");
        Some(Crypt { name, spec, required })
    };
    text.lines().filter_map(entry).take(MAX_ENTRIES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let text = "# comment\n\nUUID=a / ext4 defaults,subvol=@/x 0 1\nLABEL=b\t/mnt/two\\040words/ auto nofail\n/dev/c none swap\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 3);
        assert_eq!((entries[0].spec.as_str(), entries[0].point.as_str(), entries[0].line), ("UUID=a", "/", 3));
        assert_eq!(entries[0].subvolume().as_deref(), Some("/@/x"));
        assert!(entries[0].is_required());
        assert_eq!(entries[1].point, "/mnt/two words");
        assert!(!entries[1].is_required());
        assert_eq!(entries[2].options, ["defaults"]);
    }

    #[test]
    fn crypttab_entries_are_read() {
        let entries = parse_crypttab("# x\nroot UUID=a none luks,discard\ndata /dev/b /key nofail\n");
        assert_eq!(entries.len(), 2);
        assert!(entries[0].required && !entries[1].required);
        assert_eq!(entries[1].spec, "/dev/b");
    }
}
