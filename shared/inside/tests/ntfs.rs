//! NTFS against ntfs-3g: what it writes, we read.
#![allow(clippy::unwrap_used)]

mod tools;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use goldfleet_disk::DiskReader;
use goldfleet_inside::fs::{FileKind, FileSystem, FsError, ntfs::Ntfs};
use proptest::prelude::*;
use tools::ntfs::{PACKAGE, Volume};
use tools::{
    Damaged, RawFile, budget, content, damaged_config, read, read_what_can_be_read, run, text, walk, windowed,
};

/// What a tree must contain: the seed and length of each file, and holes of zeros in it.
#[derive(Default)]
struct Expected(BTreeMap<String, Vec<(u64, usize)>>);

impl Expected {
    /// Writes a file.
    fn write(&mut self, volume: &Volume, path: &str, seed: u64, length: usize) {
        fs::write(volume.path(path), content(seed, length)).unwrap();
        self.0.insert(path.to_owned(), vec![(seed, length)]);
    }

    /// Appends to a file; `false` if the volume is full.
    fn append(&mut self, file: &File, path: &str, seed: u64, length: usize) -> bool {
        let parts = self.0.entry(path.to_owned()).or_default();
        let offset: usize = parts.iter().map(|(_, length)| length).sum();
        let bytes = content(seed, length);
        let mut done = 0;
        while done < bytes.len() {
            match file.write_at(&bytes[done..], (offset + done) as u64) {
                Ok(count @ 1..) => done += count,
                _ => break,
            }
        }
        file.set_len((offset + done) as u64).unwrap();
        if done > 0 {
            parts.push((seed, done));
        }
        done == length
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        self.0[path].iter().flat_map(|(seed, length)| content(*seed, *length)).collect()
    }

    /// Compares names, lengths and contents of all files.
    fn compare(&self, fs: &Ntfs) {
        let mut found = Vec::new();
        walk(fs, "/", &mut |path, kind| {
            if kind != FileKind::Directory {
                assert_eq!(kind, FileKind::File, "{path}");
                found.push(path.to_owned());
            }
        })
        .unwrap();
        found.sort();
        let expected: Vec<&String> = self.0.keys().collect();
        assert!(found.iter().eq(expected.iter().copied()), "{} and {} names", found.len(), expected.len());
        for path in found {
            let bytes = self.bytes(&path);
            assert_eq!(fs.stat(&path).unwrap().size, bytes.len() as u64, "{path}");
            assert!(read(fs, &path) == bytes, "{path} differs");
        }
    }
}

/// Files of many lengths in folders of many sizes, two fragmented files on a full volume, and files that are created
/// afterwards, when the master file table must grow into what is left.
fn fill(volume: &Volume, small: u64) -> Expected {
    let mut expected = Expected::default();
    for folder in ["Windows", "Windows/System32", "many", "Ünïcode ☃", "fill"] {
        fs::create_dir(volume.path(folder)).unwrap();
    }
    let half = small / 2;
    let path = |index: u64| match index % 4 {
        0 => format!("/Windows/System32/file {index}.dll"),
        1 => format!("/Windows/ключ-{index}"),
        2 => format!("/Ünïcode ☃/{index}{}", "x".repeat(usize::try_from(index % 200).unwrap())),
        _ => format!("/many/{index}"),
    };
    let length = |index: u64| usize::try_from(index * 7919 % 3000).unwrap();
    for index in 0..half {
        expected.write(volume, &path(index), index, length(index));
    }
    let fillers = 1500;
    for index in 0..fillers {
        fs::write(volume.path(&format!("fill/{index}")), content(index, 20_000)).unwrap();
    }
    for index in (0..fillers).step_by(2) {
        fs::remove_file(volume.path(&format!("fill/{index}"))).unwrap();
    }
    // Room for the rest of the small files.
    File::create(volume.path("room")).unwrap().write_all(&vec![0; usize::try_from(small).unwrap() * 3200]).unwrap();
    let two = ["/fragments-a", "/fragments-b"].map(|path| (path, File::create(volume.path(path)).unwrap()));
    let mut seed = 1_000_000;
    while two.iter().all(|(path, file)| {
        seed += 1;
        expected.append(file, path, seed, 30_000)
    }) {}
    drop(two);
    fs::remove_file(volume.path("room")).unwrap();
    for index in half..small {
        expected.write(volume, &path(index), index, length(index));
    }
    for index in (1..fillers).step_by(2) {
        expected.0.insert(format!("/fill/{index}"), vec![(index, 20_000)]);
    }
    expected
}

#[test]
fn all_of_14000_files_are_equal_on_a_full_and_fragmented_volume() {
    let mut volume = Volume::new(160, &[]);
    let expected = fill(&volume, 13_500);
    volume.unmount();
    assert!(expected.0.len() >= 14_000, "{}", expected.0.len());
    let info = run(PACKAGE, "ntfsinfo", &["--force", "--verbose", "-F", "/fragments-a", text(&volume.image)]);
    assert!(info.contains("$ATTRIBUTE_LIST"), "the volume is not fragmented enough for an attribute list");
    let table = run(PACKAGE, "ntfsinfo", &["--force", "--verbose", "-i", "0", text(&volume.image)]);
    println!("{} files; file table: {}", expected.0.len(), table.lines().filter(|line| line.contains("VCN")).count());
    expected.compare(&volume.open());
}

/// The regular files below a folder: paths from the folder with contents.
fn files_below(base: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(base, &path, files);
        } else {
            files.insert(format!("/{}", text(path.strip_prefix(base).unwrap())), fs::read(&path).unwrap());
        }
    }
}

/// ntfs-3g keeps folders and records in memory that it changes, and writes no log.
#[test]
fn a_volume_whose_driver_was_killed_is_equal_to_what_ntfs3g_shows_afterwards() {
    let mut volume = Volume::new(160, &[]);
    fill(&volume, 13_500);
    // Changes that ntfs-3g has not finished when it is killed: a file is open, and nothing is synchronised.
    for index in (0..13_500).step_by(50).filter(|index| index % 4 == 3) {
        fs::rename(volume.path(&format!("/many/{index}")), volume.path(&format!("/many/renamed {index}"))).unwrap();
    }
    fs::remove_file(volume.path("/fragments-b")).unwrap();
    let mut open = File::create(volume.path("/open")).unwrap();
    open.write_all(&content(1, 1_000_000)).unwrap();
    volume.kill();
    drop(open);

    let ours = volume.open();
    let mut found = BTreeMap::new();
    walk(&ours, "/", &mut |path, kind| {
        if kind != FileKind::Directory {
            found.insert(path.to_owned(), read(&ours, path));
        }
    })
    .unwrap();
    volume.mount();
    let mut expected = BTreeMap::new();
    files_below(&volume.path(""), &volume.path(""), &mut expected);
    volume.unmount();
    assert!(expected.len() >= 14_000, "{}", expected.len());
    let different: Vec<&String> =
        expected.keys().chain(found.keys()).filter(|path| expected.get(*path) != found.get(*path)).collect();
    assert!(different.is_empty(), "{} differ: {:?}", different.len(), &different[..different.len().min(20)]);
}

#[test]
fn every_cluster_size_is_read() {
    for cluster in ["512", "1024", "2048", "8192", "65536"] {
        let mut volume = Volume::new(64, &["--cluster-size", cluster]);
        let mut expected = Expected::default();
        fs::create_dir(volume.path("folder")).unwrap();
        for index in 0..300 {
            let path = format!("/folder/{index}{}", "long".repeat(10));
            expected.write(&volume, &path, index, usize::try_from(index * 331).unwrap());
        }
        volume.unmount();
        expected.compare(&volume.open());
    }
}

#[test]
fn names_are_found_without_case_but_the_exact_one_first() {
    let mut volume = Volume::new(16, &[]);
    fs::create_dir_all(volume.path("Windows/System32")).unwrap();
    for name in ["Config", "config", "Ärger"] {
        fs::write(volume.path("Windows/System32").join(name), name).unwrap();
    }
    volume.unmount();
    let fs = volume.open();
    assert_eq!(read(&fs, "/Windows/System32/config"), b"config");
    assert_eq!(read(&fs, "/Windows/System32/Config"), b"Config");
    assert_eq!(read(&fs, "/WINDOWS/system32/ÄRGER"), "Ärger".as_bytes());
    assert!(matches!(fs.stat("/windows/none"), Err(FsError::NotFound)));
    assert!(matches!(fs.stat("/Windows/System32/config/below"), Err(FsError::NotFound)));
    assert!(matches!(fs.open("/Windows"), Err(FsError::WrongKind(_))));
    assert!(matches!(fs.list("/Windows/System32/config"), Err(FsError::WrongKind(_))));
    assert!(matches!(fs.link("/Windows"), Err(FsError::WrongKind(_))));
    assert_eq!(fs.stat("/").unwrap().kind, FileKind::Directory);
    assert!(fs.info().label == "Windows" && fs.info().uuid.len() == 16 && fs.info().dirty.is_none());
}

#[test]
fn holes_are_zeros_and_what_cannot_be_read_says_why() {
    let mut volume = Volume::new(16, &[]);
    let sparse = File::create(volume.path("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"end", 5_000_000).unwrap();
    sparse.set_len(6_000_000).unwrap();
    drop(sparse);
    fs::write(volume.path("resident"), "short").unwrap();
    fs::write(volume.path("empty"), "").unwrap();
    fs::create_dir(volume.path("compressed")).unwrap();
    attribute(&volume.path("compressed"), "system.ntfs_attrib_be", "0x00000800");
    fs::write(volume.path("compressed/file"), vec![b'a'; 300_000]).unwrap();
    // Reparse points: a junction to C:\Users, and a file that CompactOS compressed.
    fs::create_dir(volume.path("junction")).unwrap();
    attribute(&volume.path("junction"), "system.ntfs_reparse_data", &junction("\\??\\C:\\Users", "C:\\Users"));
    fs::write(volume.path("compact"), vec![b'a'; 3000]).unwrap();
    attribute(
        &volume.path("compact"),
        "system.ntfs_reparse_data",
        "0x170000801000000001000000020000000100000000000000",
    );
    volume.unmount();
    let fs = volume.open();
    let mut bytes = vec![0; 6_000_000];
    bytes[..5].copy_from_slice(b"begin");
    bytes[5_000_000..5_000_003].copy_from_slice(b"end");
    assert!(read(&fs, "/sparse") == bytes);
    assert_eq!((read(&fs, "/resident"), read(&fs, "/empty")), (b"short".to_vec(), Vec::new()));
    let reason = |path: &str| fs.open(path).map(|_| ()).unwrap_err().to_string();
    assert!(reason("/compressed/file").contains("compressed by NTFS"));
    assert!(reason("/compact").contains("CompactOS"), "{}", reason("/compact"));
    assert_eq!(fs.stat("/junction").unwrap().kind, FileKind::Symlink);
    assert_eq!(fs.link("/junction").unwrap(), "C:\\Users");
}

fn attribute(path: &Path, name: &str, value: &str) {
    run("attr", "setfattr", &["-h", "-n", name, "-v", value, text(path)]);
}

/// The data of a junction, for setfattr.
fn junction(internal: &str, shown: &str) -> String {
    let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect() };
    let (first, second) = (utf16(internal), utf16(shown));
    let half = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let lengths = [0, first.len() - 2, first.len(), second.len() - 2];
    let names = [lengths.map(half).concat(), first, second].concat();
    let data = [&0xa000_0003_u32.to_le_bytes()[..], &half(names.len()), &[0, 0], &names].concat();
    data.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn the_dirty_flag_is_reported() {
    let mut volume = Volume::new(16, &[]);
    volume.unmount();
    run(PACKAGE, "ntfsfix", &[text(&volume.image)]);
    assert!(volume.open().info().dirty.as_deref().is_some_and(|reason| reason.contains("dirty flag")));
    run(PACKAGE, "ntfsfix", &["--clear-dirty", text(&volume.image)]);
    assert_eq!(volume.open().info().dirty, None);
}

/// A small volume with everything that the reader knows.
fn small() -> (Volume, Vec<u64>) {
    let mut volume = Volume::new(8, &["--cluster-size", "512"]);
    let mut expected = Expected::default();
    fs::create_dir(volume.path("folder")).unwrap();
    for index in 0..200 {
        expected.write(&volume, &format!("/folder/{index}"), index, usize::try_from(index * 37 % 2000).unwrap());
    }
    let two = ["/a", "/b"].map(|path| (path, File::create(volume.path(path)).unwrap()));
    for index in 0..400 {
        let (path, file) = &two[index % 2];
        assert!(expected.append(file, path, index as u64, 700));
        file.sync_all().unwrap();
    }
    drop(two);
    volume.unmount();
    // Metadata is where file records and index blocks are.
    let disk = RawFile::open(&volume.image);
    let mut sectors = vec![0];
    let mut sector = [0; 512];
    for offset in (0..disk.size() - 512).step_by(512) {
        disk.read_at(offset, &mut sector).unwrap();
        if sector.starts_with(b"FILE") || sector.starts_with(b"INDX") {
            sectors.extend([offset, offset + 512]);
        }
    }
    (volume, sectors)
}

#[test]
fn a_damaged_volume_is_read_to_an_end() {
    let (volume, sectors) = small();
    let disk: Arc<dyn DiskReader> = Arc::new(RawFile::open(&volume.image));
    // Most changes hit metadata, some anything. Fix-ups protect only the last two bytes of a sector, so the others stay
    // valid.
    let place = prop_oneof![
        9 => (0..sectors.len(), 0_u64..512).prop_map(move |(sector, byte)| sectors[sector] + byte),
        1 => 0..disk.size(),
    ];
    proptest!(damaged_config(), |(changes in prop::collection::vec((place, any::<u8>()), 1..30))| {
        let budget = budget();
        let damaged = Arc::new(Damaged { disk: Arc::clone(&disk), changes });
        if let Ok(fs) = Ntfs::open(windowed(damaged, &budget), Arc::clone(&budget)) {
            read_what_can_be_read(&fs, "/", 8, &mut 300);
        }
        prop_assert!(budget.stopped().is_none(), "{:?}", budget.stopped());
    });
}
