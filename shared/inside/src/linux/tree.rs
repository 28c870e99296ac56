//! Finds the root file system of a Linux system, and puts the other file systems together with it.

use crate::budget::Budget;
use crate::fs::{FileSystem, FsKind};
use crate::machine::{Machine, Mounted, is_esp};
use crate::root::{Held, Root};

use super::device::{self, Device, Names};
use super::fstab::{self, Entry};

/// Subvolumes that distributions use for the root, if it is not the default subvolume.
const SUBVOLUMES: [&str; 4] = ["/@", "/root", "/@rootfs", "/@/.snapshots/1/snapshot"];
/// The GUID of the partition type "extended boot loader", which is mounted on /boot without fstab.
const XBOOTLDR: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";

/// A system's tree of files and its fstab.
pub(super) struct Tree<'a> {
    /// The tree.
    pub(super) root: Root<'a>,
    /// The index of the root's volume among the machine's.
    pub(super) volume: usize,
    /// The entries of fstab.
    pub(super) fstab: Vec<Entry>,
    /// The folder on which the EFI system partition is mounted, if there is one that can be read.
    pub(super) esp: Option<String>,
    /// Other root file systems on the disk, by the titles of their volumes.
    pub(super) others: Vec<String>,
    /// File systems that fstab mounts and that could not be opened.
    pub(super) unmounted: Vec<String>,
}

/// Whether a file system looks like the root of an installed Linux system.
fn is_root(fs: &dyn FileSystem) -> bool {
    let has = |path: &str| fs.stat(path).is_ok();
    has("/etc/os-release") && (has("/etc/fstab") || has("/etc/passwd")) || has("/etc/fstab") && has("/etc/passwd")
}

fn as_root(mounted: &Mounted) -> Option<Held<'_>> {
    let fs = &*mounted.fs;
    if matches!(fs.info().kind, FsKind::Fat | FsKind::Ntfs) {
        return None;
    }
    if is_root(fs) {
        return Some(Held::Borrowed(fs));
    }
    let opened = SUBVOLUMES.iter().filter_map(|path| fs.subvolume(path)?.ok());
    opened.into_iter().find(|fs| is_root(&**fs)).map(Held::Owned)
}

/// Finds the root and mounts what fstab states. `None` if the disk has no Linux system.
pub(super) fn find<'a>(machine: &'a Machine, names: &[Names], budget: &'a Budget) -> Option<Tree<'a>> {
    let mut candidates = machine.mounted.iter().filter_map(|mounted| Some((mounted, as_root(mounted)?)));
    let (mounted, held) = candidates.next()?;
    let others = candidates.map(|(mounted, _)| mounted.volume.title.clone()).collect();
    let mut root = Root::new(held, budget);
    let fstab = fstab::parse(&root.text("/etc/fstab").unwrap_or_default());
    let mut unmounted = Vec::new();
    for entry in &fstab {
        if !entry.point.starts_with('/') || entry.point == "/" {
            continue;
        }
        if let Device::Found(index) = device::find(names, &entry.spec, &[]) {
            match hold(machine, index, entry) {
                Some(fs) => root.mount(&entry.point, fs),
                None => unmounted.push(entry.point.clone()),
            }
        }
    }
    mount_without_fstab(machine, &mut root, &fstab);
    let esp = machine.mounted.iter().find(|m| is_esp(&m.volume)).and_then(|m| {
        let info = m.fs.info();
        root.point_of(info.kind, &info.uuid).map(str::to_owned)
    });
    let volume = machine.volumes.iter().position(|v| device::same(v, &mounted.volume))?;
    Some(Tree { root, volume, fstab, esp, others, unmounted })
}

fn hold<'a>(machine: &'a Machine, index: usize, entry: &Entry) -> Option<Held<'a>> {
    let volume = &machine.volumes[index];
    let fs = &*machine.mounted.iter().find(|m| device::same(&m.volume, volume))?.fs;
    match entry.subvolume().and_then(|path| fs.subvolume(&path)) {
        Some(opened) => opened.ok().map(Held::Owned),
        None => Some(Held::Borrowed(fs)),
    }
}

/// systemd mounts partitions of certain types without fstab.
fn mount_without_fstab<'a>(machine: &'a Machine, root: &mut Root<'a>, fstab: &[Entry]) {
    let listed = |point: &str| fstab.iter().any(|entry| entry.point == point);
    let of_kind = |test: &dyn Fn(&Mounted) -> bool| machine.mounted.iter().find(|m| test(m)).map(|m| &*m.fs);
    if let Some(fs) = of_kind(&|m| m.volume.partition.as_ref().is_some_and(|p| p.kind == XBOOTLDR))
        && !listed("/boot")
    {
        root.mount("/boot", Held::Borrowed(fs));
    }
    if let Some(fs) = of_kind(&|m| is_esp(&m.volume))
        && root.point_of(fs.info().kind, &fs.info().uuid).is_none()
    {
        root.mount("/efi", Held::Borrowed(fs));
    }
}
