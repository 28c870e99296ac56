//! The tree of files of an installed system: its root file system with those that fstab mounts below it.
//!
//! Links are resolved inside the image, so that an absolute link leads to the image's root and never to the machine
//! that inspects it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;

use crate::budget::Budget;
use crate::fs::{self, DirEntry, FileKind, FileReader, FileSystem, FsError, FsKind, Stat};

/// The most links on the way to a file, as in the kernel.
const MAX_LINKS: u32 = 40;
/// The most components of a path, counting those of links on the way.
const MAX_COMPONENTS: u32 = 1000;
/// The longest configuration file that is read.
const MAX_TEXT: u64 = 4 << 20;
/// The most files of one folder that [`Root::read_folder`] reads.
const MAX_FILES: usize = 1000;

/// A file system, borrowed or owned.
pub enum Held<'a> {
    /// One of the machine's.
    Borrowed(&'a dyn FileSystem),
    /// One that was opened for this mount, such as a subvolume.
    Owned(Box<dyn FileSystem>),
}

impl Held<'_> {
    /// The file system.
    #[must_use]
    pub fn get(&self) -> &dyn FileSystem {
        match self {
            Self::Borrowed(fs) => *fs,
            Self::Owned(fs) => &**fs,
        }
    }
}

struct Mount<'a> {
    /// The mount point, without a `/` at the end: empty for the root.
    point: String,
    fs: Held<'a>,
}

/// The files of an installed system.
pub struct Root<'a> {
    mounts: Vec<Mount<'a>>,
    budget: &'a Budget,
    /// Folders on the way that are known: `None` for a folder, or a link's target.
    known: RefCell<HashMap<String, Option<String>>>,
    problems: RefCell<Vec<(String, String)>>,
}

impl fmt::Debug for Root<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.mounts.iter().map(|m| (&m.point, m.fs.get().info()))).finish()
    }
}

impl<'a> Root<'a> {
    /// A tree with only a root file system.
    #[must_use]
    pub fn new(root: Held<'a>, budget: &'a Budget) -> Self {
        let mounts = vec![Mount { point: String::new(), fs: root }];
        Self { mounts, budget, known: RefCell::default(), problems: RefCell::default() }
    }

    /// Mounts a file system on a folder, which need not exist. A mount below another one comes later.
    pub fn mount(&mut self, point: &str, fs: Held<'a>) {
        self.known.borrow_mut().clear();
        self.mounts.push(Mount { point: point.trim_end_matches('/').to_owned(), fs });
        self.mounts.sort_by_key(|mount| mount.point.len());
    }

    /// The limits of the inspection.
    #[must_use]
    pub fn budget(&self) -> &'a Budget {
        self.budget
    }

    /// The file system of the root.
    #[must_use]
    pub fn fs(&self) -> &dyn FileSystem {
        self.mounts[0].fs.get()
    }

    /// The file system that is mounted exactly on a folder.
    #[must_use]
    pub fn mounted_on(&self, point: &str) -> Option<&dyn FileSystem> {
        self.mounts.iter().find(|m| m.point == point.trim_end_matches('/')).map(|m| m.fs.get())
    }

    /// Where the file system with an identifier is mounted: empty for the root.
    #[must_use]
    pub fn point_of(&self, kind: FsKind, uuid: &str) -> Option<&str> {
        let matches = |mount: &&Mount<'_>| mount.fs.get().info().kind == kind && mount.fs.get().info().uuid == uuid;
        self.mounts.iter().find(matches).map(|mount| mount.point.as_str())
    }

    /// The file system that holds a path, whose folders need not exist.
    #[must_use]
    pub fn fs_of(&self, path: &str) -> &dyn FileSystem {
        self.place(path).0
    }

    /// Files that exist but could not be read, with the reason.
    pub fn problems(&self) -> Vec<(String, String)> {
        self.problems.borrow().clone()
    }

    /// The file system that holds a path, and the path inside it.
    fn place<'p>(&self, path: &'p str) -> (&dyn FileSystem, &'p str) {
        for mount in self.mounts.iter().rev() {
            if let Some(rest) = path.strip_prefix(mount.point.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return (mount.fs.get(), if rest.is_empty() { "/" } else { rest });
            }
        }
        (self.fs(), path)
    }

    /// The path with all links resolved. The last component need not exist.
    ///
    /// # Errors
    /// [`FsError`] if a folder on the way does not exist or cannot be read, or if there are too many links.
    pub fn resolve(&self, path: &str, follow_last: bool) -> Result<String, FsError> {
        let mut rest: VecDeque<String> = components(path).collect();
        let mut done = String::new();
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = rest.pop_front() {
            self.budget.check()?;
            steps += 1;
            if steps > MAX_COMPONENTS {
                return Err(FsError::Damaged("a path is too long".into()));
            }
            if name == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{done}/{name}");
            if rest.is_empty() && !follow_last {
                return Ok(next);
            }
            match self.link_at(&next) {
                Err(FsError::NotFound) if rest.is_empty() => return Ok(next),
                Err(error) => return Err(error),
                Ok(None) => done = next,
                Ok(Some(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(FsError::Damaged("too many symbolic links".into()));
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(component);
                    }
                }
            }
        }
        Ok(if done.is_empty() { "/".to_owned() } else { done })
    }

    /// The target of the link at a path, or `None` if it is not a link.
    fn link_at(&self, path: &str) -> Result<Option<String>, FsError> {
        if let Some(known) = self.known.borrow().get(path) {
            return Ok(known.clone());
        }
        let leads_to =
            |point: &str| point.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if self.mounts.iter().any(|mount| leads_to(&mount.point)) {
            return Ok(None);
        }
        let (fs, inside) = self.place(path);
        let kind = fs.stat(inside)?.kind;
        let target = if kind == FileKind::Symlink { Some(fs.link(inside)?) } else { None };
        if kind == FileKind::Directory || target.is_some() {
            self.known.borrow_mut().insert(path.to_owned(), target.clone());
        }
        Ok(target)
    }

    /// The properties of a file or folder. Links are followed.
    ///
    /// # Errors
    /// [`FsError`] if it does not exist or cannot be read.
    pub fn stat(&self, path: &str) -> Result<Stat, FsError> {
        let path = self.resolve(path, true)?;
        let (fs, inside) = self.place(&path);
        fs.stat(inside)
    }

    /// Whether a path exists. Links are followed. A path that cannot be read is a problem, and does not exist.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.note(path, self.stat(path)).is_some()
    }

    /// Whether a name exists, even if it is a link to nothing.
    #[must_use]
    pub fn has_name(&self, path: &str) -> bool {
        let found = self.resolve(path, false).and_then(|path| {
            let (fs, inside) = self.place(&path);
            fs.stat(inside)
        });
        self.note(path, found).is_some()
    }

    /// The target of the link that a path names, as it is stored.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<String> {
        let path = self.resolve(path, false).ok()?;
        let (fs, inside) = self.place(&path);
        fs.link(inside).ok()
    }

    /// Opens a file. Links are followed.
    ///
    /// # Errors
    /// [`FsError`] if it does not exist or cannot be read.
    pub fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        let path = self.resolve(path, true)?;
        let (fs, inside) = self.place(&path);
        fs.open(inside)
    }

    /// Reads a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`FsError`] if it does not exist, cannot be read, or is longer.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FsError> {
        fs::read(&mut *self.open(path)?, limit, self.budget)
    }

    /// The text of a configuration file, converted lossily. `None` if it does not exist, or cannot be read, which is a
    /// problem.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.note(path, self.read(path, MAX_TEXT))?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The entries of a folder, sorted by name. Empty if it does not exist, or cannot be read, which is a problem.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<DirEntry> {
        let listed = self.resolve(path, true).and_then(|path| {
            let (fs, inside) = self.place(&path);
            fs.list(inside)
        });
        let mut entries = self.note(path, listed).unwrap_or_default();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// The text files of a folder whose names end with `suffix`, sorted by name, with their paths.
    #[must_use]
    pub fn read_folder(&self, path: &str, suffix: &str) -> Vec<(String, String)> {
        let names = self.list(path).into_iter().filter(|e| e.kind != FileKind::Directory && e.name.ends_with(suffix));
        let paths = names.take(MAX_FILES).map(|entry| format!("{path}/{}", entry.name));
        paths.filter_map(|path| self.text(&path).map(|text| (path, text))).collect()
    }

    /// Text files of several folders that override each other, as systemd, udev and modprobe have them: a file in an
    /// earlier folder hides one of the same name in a later folder. Sorted by name.
    #[must_use]
    pub fn read_folders(&self, folders: &[&str], suffix: &str) -> Vec<(String, String)> {
        let mut files: HashMap<String, String> = HashMap::new();
        for folder in folders {
            for entry in self.list(folder) {
                if entry.kind != FileKind::Directory && entry.name.ends_with(suffix) && files.len() < MAX_FILES {
                    files.entry(entry.name.clone()).or_insert_with(|| format!("{folder}/{}", entry.name));
                }
            }
        }
        let mut files: Vec<(String, String)> = files.into_iter().collect();
        files.sort();
        files.into_iter().filter_map(|(_, path)| self.text(&path).map(|text| (path, text))).collect()
    }

    /// Records an error other than that the path does not exist.
    fn note<T>(&self, path: &str, result: Result<T, FsError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(FsError::NotFound | FsError::WrongKind(_)) => None,
            Err(error) => {
                let mut problems = self.problems.borrow_mut();
                let problem = (path.to_owned(), error.to_string());
                if problems.len() < 100 && !problems.contains(&problem) {
                    problems.push(problem);
                }
                None
            }
        }
    }
}

fn components(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Limits;
    use crate::fs::tree::TreeFs;

    fn tree() -> TreeFs {
        TreeFs::new(FsKind::Ext, "root")
            .file("/usr/lib/os-release", "ID=debian")
            .symlink("/etc/os-release", "../usr/lib/os-release")
            .symlink("/lib", "usr/lib")
            .symlink("/absolute", "/etc/os-release")
            .symlink("/above", "../../../../usr/lib/os-release")
            .symlink("/loop", "/loop")
            .symlink("/dangling", "/nowhere/at/all")
            .dir("/boot")
            .file("/boot/hidden", "")
    }

    #[test]
    fn links_stay_inside_the_image() {
        let (tree, budget) = (tree(), Budget::new(Limits::default()));
        let root = Root::new(Held::Borrowed(&tree), &budget);
        for path in ["/etc/os-release", "/absolute", "/above", "/lib/os-release", "/etc/../lib/./os-release"] {
            assert_eq!(root.text(path).as_deref(), Some("ID=debian"), "{path}");
        }
        assert!(!root.exists("/dangling") && root.has_name("/dangling"));
        assert!(matches!(root.stat("/loop"), Err(FsError::Damaged(_))));
        assert_eq!(root.resolve("/lib/new", true).unwrap(), "/usr/lib/new");
        assert_eq!(root.link("/etc/os-release").as_deref(), Some("../usr/lib/os-release"));
    }

    #[test]
    fn a_mount_hides_what_is_below_it() {
        let (tree, budget) = (tree(), Budget::new(Limits::default()));
        let boot = TreeFs::new(FsKind::Xfs, "boot").file("/vmlinuz", "kernel").symlink("/up", "/usr/lib/os-release");
        let efi = TreeFs::new(FsKind::Fat, "efi").file("/EFI/BOOT/BOOTX64.EFI", "MZ");
        let mut root = Root::new(Held::Borrowed(&tree), &budget);
        root.mount("/boot/efi", Held::Borrowed(&efi));
        root.mount("/boot/", Held::Borrowed(&boot));
        assert!(root.exists("/boot/vmlinuz") && !root.exists("/boot/hidden"));
        assert!(root.exists("/boot/efi/efi/boot/bootx64.efi"));
        assert_eq!(root.text("/boot/up").as_deref(), Some("ID=debian"), "links lead out of a mount");
        assert_eq!(root.fs_of("/boot/grub/x").info().uuid, "boot");
        assert_eq!(root.fs_of("/bootx").info().uuid, "root");
        assert_eq!(root.mounted_on("/boot").unwrap().info().uuid, "boot");
    }

    #[test]
    fn a_file_in_an_earlier_folder_hides_a_later_one() {
        let tree = TreeFs::new(FsKind::Ext, "")
            .file("/etc/d/b.conf", "etc")
            .file("/usr/d/b.conf", "usr")
            .file("/usr/d/a.conf", "a")
            .file("/usr/d/c.txt", "c");
        let budget = Budget::new(Limits::default());
        let root = Root::new(Held::Borrowed(&tree), &budget);
        let files = root.read_folders(&["/etc/d", "/usr/d"], ".conf");
        let expected = [("/usr/d/a.conf", "a"), ("/etc/d/b.conf", "etc")].map(|(p, t)| (p.to_owned(), t.to_owned()));
        assert_eq!(files, expected);
    }
}
