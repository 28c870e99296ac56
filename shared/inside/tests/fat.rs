//! FAT against dosfstools and mtools: what they write, we read.
#![allow(clippy::unwrap_used)]

mod tools;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldfleet_disk::DiskReader;
use goldfleet_inside::fs::{FileKind, FileSystem, FsError, fat::Fat};
use proptest::prelude::*;
use tools::{
    Damaged, RawFile, budget, content, damaged_config, large_budget, read, read_what_can_be_read, run, text, walk,
    windowed,
};

/// A FAT volume that is filled by mtools.
struct Volume {
    image: PathBuf,
    folder: tempfile::TempDir,
}

impl Volume {
    fn new(kibibytes: u64, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("fat");
        File::create(&image).unwrap().set_len(kibibytes << 10).unwrap();
        run("dosfstools", "mkfs.vfat", &[options, &["-n", "SYSTEM", "-i", "1234ABCD", text(&image)]].concat());
        Self { image, folder }
    }

    fn mtools(&self, program: &str, arguments: &[&str]) -> String {
        run("mtools", program, &[&["-i", text(&self.image)], arguments].concat())
    }

    /// Copies a folder.
    fn copy(&self, folder: &Path) {
        self.mtools("mcopy", &["-s", "-Q", text(folder), "::/"]);
    }

    fn open(&self) -> Fat {
        let budget = large_budget();
        Fat::open(windowed(Arc::new(RawFile::open(&self.image)), &budget), budget).unwrap()
    }
}

/// Files with short and long names, some in folders of many entries. mtools cannot write names that need more than one
/// cluster.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let names = [
        "EFI/BOOT/BOOTX64.EFI",
        "lower.txt",
        "Mixed.Case.Long name.efi",
        "ünïcode-ключ-☃",
        "NOEXT",
        "a/b/c/d/e/deep",
        "empty",
    ];
    for (index, name) in names.iter().enumerate() {
        files.insert(
            format!("/source/{name}"),
            content(index as u64, if *name == "empty" { 0 } else { 3000 * index + 1 }),
        );
    }
    for index in 0..200 {
        let name = format!("/source/many/file number {index}-{}", "long".repeat(index % 40));
        files.insert(name, content(index as u64, index * 13));
    }
    for (path, bytes) in &files {
        let path = folder.join(path.trim_start_matches("/source/"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    files
}

fn compare(fs: &Fat, expected: &BTreeMap<String, Vec<u8>>) {
    let mut found = Vec::new();
    walk(fs, "/", &mut |path, kind| {
        if kind == FileKind::File {
            found.push(path.to_owned());
        }
    })
    .unwrap();
    found.sort();
    assert_eq!(found.iter().zip(expected.keys()).find(|(ours, theirs)| ours != theirs), None);
    assert_eq!(found.len(), expected.len());
    for (path, bytes) in expected {
        assert_eq!(fs.stat(path).unwrap().size, bytes.len() as u64, "{path}");
        assert!(read(fs, path) == *bytes, "{path} differs");
    }
}

/// One volume of each width, and other sizes of clusters and sectors.
const SHAPES: [(u64, &[&str]); 6] = [
    (6 << 10, &["-F", "12"]),
    (6 << 10, &["-F", "12", "-s", "8"]),
    (16 << 10, &["-F", "16"]),
    (64 << 10, &["-F", "16", "-S", "2048", "-r", "64"]),
    (64 << 10, &["-F", "32"]),
    (300 << 10, &["-F", "32", "-s", "8", "-f", "1"]),
];

#[test]
fn every_width_is_equal_to_what_mtools_wrote() {
    for (kibibytes, options) in SHAPES {
        let volume = Volume::new(kibibytes, options);
        let source = volume.folder.path().join("source");
        fs::create_dir(&source).unwrap();
        let expected = tree(&source);
        volume.copy(&source);
        let fs = volume.open();
        compare(&fs, &expected);
        assert_eq!((fs.info().uuid.as_str(), fs.info().label.as_str()), ("1234-ABCD", "SYSTEM"));
        assert_eq!(fs.info().dirty, None);
        // The listing of mtools agrees with ours.
        let listed = volume.mtools("mdir", &["-b", "::/source/many"]);
        assert_eq!(listed.lines().count(), fs.list("/source/many").unwrap().len());
    }
}

#[test]
fn fragmented_and_deleted_files_are_read_correctly() {
    let volume = Volume::new(8 << 10, &["-F", "16", "-s", "1"]);
    let source = volume.folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for index in 0..60 {
        fs::write(source.join(format!("small {index}")), content(index, 100_000)).unwrap();
    }
    volume.copy(&source);
    let odd: Vec<String> =
        (0..60).filter(|index| index % 2 == 1).map(|index| format!("::/source/small {index}")).collect();
    volume.mtools("mdel", &odd.iter().map(String::as_str).collect::<Vec<_>>());
    let large = volume.folder.path().join("large file");
    fs::write(&large, content(99, 3_000_000)).unwrap();
    volume.mtools("mcopy", &[text(&large), "::/"]);
    let mut expected: BTreeMap<String, Vec<u8>> =
        (0..60).step_by(2).map(|index| (format!("/source/small {index}"), content(index, 100_000))).collect();
    expected.insert("/large file".into(), content(99, 3_000_000));
    compare(&volume.open(), &expected);
}

#[test]
fn names_are_found_without_case_and_by_their_short_form() {
    let volume = Volume::new(6 << 10, &["-F", "12"]);
    let source = volume.folder.path().join("source");
    fs::create_dir(&source).unwrap();
    tree(&source);
    volume.copy(&source);
    let fs = volume.open();
    for path in ["/source/efi/boot/bootx64.efi", "/SOURCE/EFI/BOOT/BOOTX64.EFI", "//Source/Efi//Boot/BootX64.efi"] {
        assert_eq!(read(&fs, path), content(0, 1), "{path}");
    }
    assert_eq!(read(&fs, "/source/MIXEDC~1.EFI"), content(2, 6001));
    assert!(matches!(fs.stat("/none"), Err(FsError::NotFound)));
    assert!(matches!(fs.stat("/source/NOEXT/below"), Err(FsError::NotFound)));
    assert!(matches!(fs.open("/source/EFI"), Err(FsError::WrongKind(_))));
    assert!(matches!(fs.open("/"), Err(FsError::WrongKind(_))));
    assert!(matches!(fs.list("/source/NOEXT"), Err(FsError::WrongKind(_))));
    assert!(matches!(fs.link("/source/EFI"), Err(FsError::WrongKind(_))));
}

#[test]
fn the_dirty_flags_of_linux_and_windows_are_reported() {
    // Offsets: the flag in the boot sector, and the second entry of the table, which follows the reserved sectors.
    for (options, kibibytes, flag, entry) in
        [(["-F", "16"], 16 << 10, 0x25, 4 * 512 + 3), (["-F", "32"], 64 << 10, 0x41, 32 * 512 + 7)]
    {
        let volume = Volume::new(kibibytes, &options);
        let disk: Arc<dyn DiskReader> = Arc::new(RawFile::open(&volume.image));
        let dirty = |changes| {
            let damaged = Arc::new(Damaged { disk: Arc::clone(&disk), changes });
            Fat::open(damaged, budget()).unwrap().info().dirty.is_some()
        };
        assert!(!dirty(vec![]));
        assert!(dirty(vec![(flag, 1)]), "{options:?}: Linux");
        assert!(dirty(vec![(entry, 0x07)]), "{options:?}: Windows");
    }
}

#[test]
fn a_chain_without_end_is_damage() {
    let volume = Volume::new(16 << 10, &["-F", "16", "-R", "4"]);
    let file = volume.folder.path().join("file");
    fs::write(&file, content(1, 20_000)).unwrap();
    volume.mtools("mcopy", &[text(&file), "::/"]);
    let disk: Arc<dyn DiskReader> = Arc::new(RawFile::open(&volume.image));
    // The first cluster of the file leads to itself: its chain is shorter than its length, or endless.
    let table = 4 * 512;
    let damaged = Damaged { disk, changes: vec![(table + 4, 2), (table + 5, 0)] };
    let fs = Fat::open(Arc::new(damaged), budget()).unwrap();
    let mut buffer = vec![0; 30_000];
    match fs.open("/file") {
        Ok(mut file) => assert!(file.read_at(0, &mut buffer).unwrap() <= 20_000),
        Err(error) => assert!(matches!(error, FsError::Damaged(_))),
    }
    // A folder whose chain leads to itself has no end.
    volume.mtools("mmd", &["::/folder"]);
    let mut bytes = fs::read(&volume.image).unwrap();
    let name = bytes.windows(11).position(|name| name == b"FOLDER     ").unwrap();
    let cluster = usize::from(u16::from_le_bytes([bytes[name + 26], bytes[name + 27]]));
    let table = usize::try_from(table).unwrap();
    bytes[table + 2 * cluster..table + 2 * cluster + 2].copy_from_slice(&u16::try_from(cluster).unwrap().to_le_bytes());
    fs::write(&volume.image, bytes).unwrap();
    assert_eq!(volume.open().list("/folder").unwrap(), [], "the end of the folder is in its first cluster");
}

#[test]
fn a_damaged_volume_is_read_to_an_end() {
    let volumes: Vec<Volume> =
        [0, 2, 4].into_iter().map(|shape| Volume::new(SHAPES[shape].0, SHAPES[shape].1)).collect();
    for volume in &volumes {
        let source = volume.folder.path().join("source");
        fs::create_dir(&source).unwrap();
        tree(&source);
        volume.copy(&source);
    }
    let disks: Vec<Arc<dyn DiskReader>> =
        volumes.iter().map(|volume| Arc::new(RawFile::open(&volume.image)) as Arc<dyn DiskReader>).collect();
    // The boot sector, the tables and the folders are at the beginning.
    let place = prop_oneof![2 => 0_u64..90, 5 => 512_u64..40_000, 3 => 0_u64..1 << 20];
    proptest!(damaged_config(), |(which in 0..disks.len(), changes in prop::collection::vec((place, any::<u8>()), 1..30))| {
        let budget = budget();
        let damaged = Arc::new(Damaged { disk: Arc::clone(&disks[which]), changes });
        if let Ok(fs) = Fat::open(windowed(damaged, &budget), Arc::clone(&budget)) {
            read_what_can_be_read(&fs, "/", 8, &mut 300);
        }
        prop_assert!(budget.stopped().is_none(), "{:?}", budget.stopped());
    });
}
