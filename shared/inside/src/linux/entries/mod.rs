//! Boot entries: GRUB's configuration, entries by the Boot Loader Specification, unified kernel images.

mod grub;
mod loader_spec;
mod version;

pub(super) use version::compare;

use std::collections::HashMap;

use crate::pe::Pe;
use crate::root::Root;

/// The longest command line in a unified kernel image.
const MAX_COMMAND_LINE: u64 = 64 << 10;
/// The most entries that are read.
const MAX_ENTRIES: usize = 500;

/// A boot entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BootEntry {
    /// The title in the menu.
    pub(super) title: String,
    /// The identifier by which a default can name it.
    pub(super) id: String,
    /// The position in the menu; more than one number for an entry of a submenu.
    pub(super) position: Vec<usize>,
    /// The kernel's path in the tree, or the path as stated if there is no such file.
    pub(super) kernel: String,
    /// The paths of the initramfs files.
    pub(super) initrds: Vec<String>,
    /// The kernel command line.
    pub(super) options: String,
    /// The file that states the entry.
    pub(super) source: String,
    /// The kernel and the initramfs are sections of the file `kernel`.
    pub(super) unified: bool,
}

/// What states an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// GRUB's configuration.
    Grub,
    /// A file by the Boot Loader Specification.
    LoaderSpec,
    /// The unified kernel image itself.
    Unified,
}

impl BootEntry {
    /// What states the entry.
    pub(super) fn kind(&self) -> EntryKind {
        if self.unified {
            EntryKind::Unified
        } else if self.source.contains("/loader/entries/") {
            EntryKind::LoaderSpec
        } else {
            EntryKind::Grub
        }
    }

    /// The last value of an argument of the command line: `root` for `root=…`.
    pub(super) fn argument<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.arguments(name).last()
    }

    /// All values of an argument of the command line.
    pub(super) fn arguments<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let words = self.options.split_whitespace();
        words.filter_map(move |word| word.trim_matches('"').strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether it is a rescue entry, which is not meant to boot on other hardware.
    pub(super) fn is_rescue(&self) -> bool {
        let title = self.title.to_lowercase();
        self.kernel.contains("-rescue")
            || ["rescue", "recovery mode", "memtest"].iter().any(|word| title.contains(word))
    }
}

/// All entries of a system, and which one is the default.
#[derive(Debug, Default)]
pub(super) struct Boot {
    /// The entries.
    pub(super) entries: Vec<BootEntry>,
    /// The index of the default entry, if it is known.
    pub(super) default: Option<usize>,
    /// Identifiers of file systems that GRUB searches for, and the file that does.
    pub(super) searches: Vec<(String, String)>,
}

impl Boot {
    /// Reads all entries. `esp` is the folder on which the EFI system partition is mounted.
    pub(super) fn read(root: &Root<'_>, esp: Option<&str>) -> Self {
        let mut boot = Self::default();
        boot.read_grub(root, esp);
        if boot.entries.is_empty() {
            boot.read_loader_spec(root, esp);
        }
        boot.read_unified(root, esp);
        boot
    }

    /// The default entry.
    pub(super) fn default_entry(&self) -> Option<&BootEntry> {
        self.default.and_then(|index| self.entries.get(index))
    }

    fn read_grub(&mut self, root: &Root<'_>, esp: Option<&str>) {
        let mut files = vec!["/boot/grub2/grub.cfg".to_owned(), "/boot/grub/grub.cfg".to_owned()];
        if let Some(esp) = esp {
            let folders = root.list(&format!("{esp}/EFI"));
            files.extend(folders.iter().map(|folder| format!("{esp}/EFI/{}/grub.cfg", folder.name)));
        }
        let environment = ["/boot/grub2/grubenv", "/boot/grub/grubenv"].iter().find_map(|path| root.text(path));
        for path in files {
            let Some(text) = root.text(&path) else { continue };
            let config = grub::parse(&text, environment.as_deref().unwrap_or(""));
            self.searches.extend(config.searches.iter().map(|uuid| (uuid.clone(), path.clone())));
            if !self.entries.is_empty() {
                continue; // the entries of the first file count; the others only search for it
            }
            if config.loader_spec {
                let folder = "/boot/loader/entries";
                self.entries = loader_spec::read(root, folder, &["/boot", ""], &config.variables);
                self.default = default_of(&self.entries, &config.default);
            }
            if !config.entries.is_empty() && self.entries.is_empty() {
                self.entries = config.entries;
                for entry in &mut self.entries {
                    entry.source.clone_from(&path);
                    locate(root, entry, &["", "/boot"]);
                }
                self.default = default_of(&self.entries, &config.default);
            }
        }
    }

    fn read_loader_spec(&mut self, root: &Root<'_>, esp: Option<&str>) {
        for point in esp.into_iter().chain(["/boot", "/efi", "/boot/efi"]) {
            let folder = format!("{point}/loader/entries");
            self.entries = loader_spec::read(root, &folder, &[point, "/boot"], &HashMap::new());
            if !self.entries.is_empty() {
                let text = root.text(&format!("{point}/loader/loader.conf")).unwrap_or_default();
                let pattern = loader_spec::field(&text, "default").unwrap_or_default();
                let matching = self.entries.iter().position(|entry| loader_spec::matches(&pattern, &entry.id));
                self.default = matching.or(Some(0));
                return;
            }
        }
    }

    /// Unified kernel images in the folder that systemd-boot lists, or at the fallback path.
    fn read_unified(&mut self, root: &Root<'_>, esp: Option<&str>) {
        let Some(esp) = esp else { return };
        let folder = format!("{esp}/EFI/Linux");
        let mut names: Vec<String> = root.list(&folder).into_iter().map(|e| e.name).collect();
        names.retain(|name| name.to_lowercase().ends_with(".efi"));
        names.sort_by(|a, b| compare(b, a));
        let listed = names.iter().map(|name| format!("{folder}/{name}"));
        let fallback = ["BOOTX64.EFI", "BOOTAA64.EFI"].map(|name| format!("{esp}/EFI/BOOT/{name}"));
        for path in listed.chain(fallback).take(MAX_ENTRIES) {
            if let Some(entry) = unified(root, &path) {
                self.entries.push(entry);
                self.default = self.default.or(Some(self.entries.len() - 1));
            }
        }
    }
}

fn unified(root: &Root<'_>, path: &str) -> Option<BootEntry> {
    let mut file = root.open(path).ok()?;
    let pe = Pe::read(&mut *file).ok()?;
    pe.section(".linux")?;
    let bytes = pe.content(&mut *file, ".cmdline", MAX_COMMAND_LINE).ok()?.unwrap_or_default();
    Some(BootEntry {
        title: path.rsplit('/').next().unwrap_or(path).to_owned(),
        kernel: path.to_owned(),
        options: crate::text::until_zero(&bytes).trim().to_owned(),
        source: path.to_owned(),
        unified: true,
        ..BootEntry::default()
    })
}

/// Replaces paths that are relative to the loader's file system by paths in the tree.
fn locate(root: &Root<'_>, entry: &mut BootEntry, points: &[&str]) {
    let find = |path: &str| {
        // GRUB's paths on btrfs begin with the subvolume.
        let rest = path.find('/').and_then(|start| path[start + 1..].find('/').map(|next| &path[start + 1 + next..]));
        let candidates = [Some(path), rest];
        let all =
            candidates.into_iter().flatten().flat_map(|path| points.iter().map(move |point| format!("{point}{path}")));
        all.into_iter().find(|candidate| root.exists(candidate))
    };
    let strip = |path: &str| match path.split_once(')') {
        Some((device, rest)) if device.starts_with('(') => rest.to_owned(),
        _ => path.to_owned(),
    };
    for path in std::iter::once(&mut entry.kernel).chain(&mut entry.initrds) {
        let stated = strip(path);
        *path = find(&stated).unwrap_or(stated);
    }
}

/// The entry that a default names: an index, an identifier or a title, with `>` for submenus. Empty is the first.
fn default_of(entries: &[BootEntry], default: &str) -> Option<usize> {
    if default.is_empty() {
        return (!entries.is_empty()).then_some(0);
    }
    let matches = |entry: &BootEntry| {
        let last = default.rsplit('>').next().unwrap_or(default);
        let numbers: Result<Vec<usize>, _> = default.split('>').map(str::parse).collect();
        entry.id == last || entry.title == last || numbers.is_ok_and(|numbers| numbers == entry.position)
    };
    let found = entries.iter().position(matches);
    // A number that names a submenu starts the submenu's first entry.
    found.or_else(|| {
        let number: usize = default.parse().ok()?;
        entries.iter().position(|entry| entry.position.first() == Some(&number))
    })
}

#[cfg(test)]
mod tests;
