//! ext4, XFS and btrfs against the tools that make them, and whole Linux disks.
#![allow(clippy::unwrap_used)]

mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldfleet_disk::{DiskReader, Severity};
use goldfleet_inside::budget::{Budget, Limits};
use goldfleet_inside::fs::{FileKind, FileSystem, FsError, FsKind, btrfs::Btrfs, ext::Ext, ntfs::Ntfs, xfs::Xfs};
use goldfleet_inside::{Options, inspect};
use proptest::prelude::*;
use tools::{
    Damaged, RawFile, budget, content, damaged_config, large_budget, read, read_what_can_be_read, run, text, walk,
    windowed,
};

const UUID: &str = "11111111-2222-3333-4444-555555555555";

/// A folder with files of all kinds: many small ones, long ones, deep folders, links.
fn source() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["etc", "many", "deep/1/2/3/4", "boot"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    fs::write(path("etc/os-release"), "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=12\n").unwrap();
    fs::write(path("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(path("etc/fstab"), format!("UUID={UUID} / auto defaults 0 1\n")).unwrap();
    for number in 0..600_u64 {
        let length = usize::try_from(number * 37 % 9000).unwrap();
        fs::write(path(&format!("many/file-with-a-longer-name-{number:04}")), content(number, length)).unwrap();
    }
    fs::write(path("long"), content(7, 3_000_001)).unwrap();
    fs::write(path("deep/1/2/3/4/bottom"), "bottom").unwrap();
    fs::write(path("empty"), "").unwrap();
    symlink("etc/os-release", path("short-link")).unwrap();
    symlink(format!("many/{}", "x".repeat(200)), path("long-link")).unwrap();
    let sparse = fs::File::create(path("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (1 << 20) - 3).unwrap();
    folder
}

/// Paths with the content of files and the targets of links.
fn tree_of_folder(base: &Path) -> BTreeMap<String, Vec<u8>> {
    fn add(base: &Path, folder: &Path, tree: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("/{}", text(path.strip_prefix(base).unwrap()));
            if path.is_symlink() {
                tree.insert(name, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
            } else if path.is_dir() {
                tree.insert(name, b"folder".to_vec());
                add(base, &path, tree);
            } else {
                tree.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut tree = BTreeMap::new();
    add(base, base, &mut tree);
    tree
}

/// `skip` are files that a crate is known not to read.
fn tree_of_fs(fs: &dyn FileSystem, skip: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut tree = BTreeMap::new();
    let mut add = |path: &str, kind: FileKind| {
        if skip.contains(&path) {
            return;
        }
        let value = match kind {
            FileKind::Directory => b"folder".to_vec(),
            FileKind::Symlink => fs.link(path).unwrap().into_bytes(),
            FileKind::File => read(fs, path),
            FileKind::Other => panic!("{path} is of no known kind"),
        };
        let stat = fs.stat(path).unwrap();
        assert_eq!(stat.kind, kind, "{path}");
        if kind == FileKind::File {
            assert_eq!(stat.size, value.len() as u64, "{path}");
        }
        tree.insert(path.to_owned(), value);
    };
    walk(fs, "/", &mut add).unwrap();
    tree.remove("/lost+found");
    tree
}

/// A volume made by the tools of a file system, with options for them.
struct Made {
    _folder: tempfile::TempDir,
    path: PathBuf,
    kind: FsKind,
}

fn volume(source: &Path, kind: FsKind, options: &[&str]) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let mib = if kind == FsKind::Xfs { 320 } else { 128 };
    fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
    match kind {
        FsKind::Ext => {
            let arguments =
                [&["-q", "-F", "-L", "root", "-d", text(source), "-U", UUID], options, &[text(&path)]].concat();
            run("e2fsprogs", "mke2fs", &arguments);
        }
        FsKind::Xfs => {
            let proto = folder.path().join("proto");
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disks/xfs_proto.py");
            fs::write(&proto, run("python3", "python3", &[script, text(source)])).unwrap();
            let uuid = format!("uuid={UUID}");
            let arguments = [&["-q", "-L", "root", "-m", &uuid, "-p", text(&proto)], options, &[text(&path)]].concat();
            run("xfsprogs", "mkfs.xfs", &arguments);
        }
        _ => {
            let arguments =
                [&["-q", "-L", "root", "-U", UUID, "--rootdir", text(source)], options, &[text(&path)]].concat();
            run("btrfs-progs", "mkfs.btrfs", &arguments);
        }
    }
    Made { _folder: folder, path, kind }
}

impl Made {
    fn disk(&self) -> Arc<dyn DiskReader> {
        Arc::new(RawFile::open(&self.path))
    }
}

fn open(disk: Arc<dyn DiskReader>, kind: FsKind) -> Result<Box<dyn FileSystem>, FsError> {
    let budget = large_budget();
    let disk = windowed(disk, &budget);
    Ok(match kind {
        FsKind::Ext => Box::new(Ext::open(disk, budget)?),
        FsKind::Xfs => Box::new(Xfs::open(disk, budget)?),
        FsKind::Ntfs => Box::new(Ntfs::open(disk, budget)?),
        _ => Box::new(Btrfs::open(disk, budget)?),
    })
}

/// Options for the tools: defaults, and those of older or smaller systems.
const LAYOUTS: &[(FsKind, &[&str])] = &[
    (FsKind::Ext, &["-t", "ext4"]),
    (FsKind::Ext, &["-t", "ext4", "-O", "^metadata_csum,^64bit", "-b", "1024"]),
    (FsKind::Ext, &["-t", "ext3"]),
    (FsKind::Ext, &["-t", "ext2"]),
    (FsKind::Xfs, &[]),
    (FsKind::Xfs, &["-m", "crc=0,finobt=0,rmapbt=0,reflink=0,bigtime=0,inobtcount=0"]),
    (FsKind::Xfs, &["-n", "size=16k"]),
    (FsKind::Btrfs, &[]),
    (FsKind::Btrfs, &["-n", "65536"]),
];

#[test]
fn a_btrfs_with_another_checksum_is_not_supported() {
    let source = source();
    let made = volume(source.path(), FsKind::Btrfs, &["--checksum", "xxhash"]);
    assert!(matches!(open(made.disk(), FsKind::Btrfs), Err(FsError::Unsupported(_))));
}

fn without(tree: &BTreeMap<String, Vec<u8>>, path: &str) -> BTreeMap<String, Vec<u8>> {
    tree.iter().filter(|(name, _)| *name != path).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// ext2 and ext3 have lists of blocks instead of extents. ext4-view 1.0.0 fails for a hole that covers a whole indirect
/// block.
#[test]
fn trees_are_equal_to_what_the_tools_wrote() {
    let source = source();
    let expected = tree_of_folder(source.path());
    for (kind, options) in LAYOUTS {
        let made = volume(source.path(), *kind, options);
        let fs = open(made.disk(), *kind).unwrap_or_else(|error| panic!("{kind} {options:?}: {error}"));
        let old = options.contains(&"ext3") || options.contains(&"ext2");
        let found = tree_of_fs(&*fs, if old { &["/sparse"] } else { &[] });
        let expected = &if old { without(&expected, "/sparse") } else { expected.clone() };
        let different: Vec<&String> =
            expected.keys().chain(found.keys()).filter(|path| expected.get(*path) != found.get(*path)).collect();
        assert!(different.is_empty(), "{kind} {options:?}: {different:?}");
        let info = fs.info();
        assert_eq!((info.uuid.as_str(), info.label.as_str(), &info.dirty), (UUID, "root", &None), "{kind} {options:?}");
        assert!(matches!(fs.stat("/nowhere"), Err(FsError::NotFound)));
        assert!(fs.list("/long").is_err() && fs.open("/etc").is_err() && fs.link("/long").is_err());
        // Reading at any offset is the same as reading from the start.
        let mut buffer = [0; 1000];
        let mut file = fs.open("/long").unwrap();
        for offset in [2_999_500_usize, 4096, 1_000_000, 10] {
            let count = file.read_at(offset as u64, &mut buffer).unwrap();
            assert!(count > 0 && expected["/long"][offset..].starts_with(&buffer[..count]), "{kind} {options:?}");
        }
        assert_eq!(file.read_at(3_000_001, &mut buffer).unwrap(), 0);
    }
}

#[test]
fn a_crashed_file_system_is_reported() {
    let source = source();
    let changed = |made: &Made, changes: Vec<(u64, u8)>| {
        let disk = Arc::new(Damaged { disk: made.disk(), changes });
        open(disk, made.kind).map(|fs| fs.info().dirty.clone())
    };
    let ext = volume(source.path(), FsKind::Ext, &["-t", "ext4", "-O", "^metadata_csum"]);
    assert_eq!(changed(&ext, vec![]).unwrap(), None);
    assert!(changed(&ext, vec![(1024 + 58, 0)]).unwrap().unwrap().contains("not cleanly unmounted"));
    assert!(changed(&ext, vec![(1024 + 58, 3)]).unwrap().unwrap().contains("errors"));
}

#[test]
fn a_superblock_with_impossible_sizes_is_damage() {
    let source = source();
    let ext = volume(source.path(), FsKind::Ext, &["-t", "ext4", "-O", "^metadata_csum"]);
    // More blocks than the volume has, blocks of 2^50 bytes, groups of no blocks.
    let cases: [&[(u64, u8)]; 3] = [&[(7, 0xff)], &[(24, 40)], &[(32, 0), (33, 0), (34, 0), (35, 0)]];
    for changes in cases {
        let changes = changes.iter().map(|(offset, value)| (1024 + offset, *value)).collect();
        let disk = Arc::new(Damaged { disk: ext.disk(), changes });
        assert!(open(disk, FsKind::Ext).is_err());
    }
}

/// The crate would allocate 8 GiB for the groups.
#[test]
fn the_upper_half_of_the_count_of_blocks_is_damage_without_64_bit() {
    let source = source();
    let ext = volume(source.path(), FsKind::Ext, &["-t", "ext4", "-O", "^metadata_csum,^64bit"]);
    let disk = Arc::new(Damaged { disk: ext.disk(), changes: vec![(1024 + 0x151, 4)] });
    assert!(matches!(open(disk, FsKind::Ext), Err(FsError::CutOff { .. })));
}

#[test]
fn an_xfs_log_at_an_impossible_place_is_damage() {
    let source = source();
    let (kind, options) = LAYOUTS[5];
    let xfs = volume(source.path(), kind, options);
    // The first block of the log, and the blocks per allocation group: their product does not fit into 64 bits.
    let changes = (48..56).chain(84..88).map(|offset| (offset, 0xff)).collect();
    let disk = Arc::new(Damaged { disk: xfs.disk(), changes });
    assert!(matches!(open(disk, kind), Err(FsError::Damaged(_))));
}

#[test]
fn a_file_system_that_is_larger_than_its_volume_is_cut_off() {
    let source = source();
    for (kind, options) in [LAYOUTS[0], LAYOUTS[4], LAYOUTS[7]] {
        let made = volume(source.path(), kind, options);
        let disk = disk_of(&made);
        let size = fs::metadata(disk.path()).unwrap().len();
        run("gdisk", "sgdisk", &["-d", "1", "-n", &format!("1:2048:{}", size / 512 - 10_000), text(disk.path())]);
        let inspection = inspect(Arc::new(RawFile::open(disk.path())), &Options::default());
        let codes: Vec<&str> = inspection.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["fs-cut-off", "not-inspected"], "{kind}");
    }
}

/// A disk with only a partition table and one file system.
fn disk_of(made: &Made) -> tempfile::NamedTempFile {
    let disk = tempfile::NamedTempFile::new().unwrap();
    let size = fs::metadata(&made.path).unwrap().len();
    disk.as_file().set_len(size + (2 << 20)).unwrap();
    run("gdisk", "sgdisk", &["-n", "1:2048:0", "-t", "1:8300", text(disk.path())]);
    let arguments = [format!("if={}", text(&made.path)), format!("of={}", text(disk.path()))];
    let fixed = ["bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"];
    run("coreutils", "dd", &[&[arguments[0].as_str(), arguments[1].as_str()], &fixed[..]].concat());
    disk
}

#[test]
fn the_system_of_a_disk_is_found_on_each_file_system() {
    let source = source();
    for (kind, options) in [LAYOUTS[0], LAYOUTS[4], LAYOUTS[7]] {
        let disk = disk_of(&volume(source.path(), kind, options));
        let inspection = inspect(Arc::new(RawFile::open(disk.path())), &Options::default());
        let system = inspection.system.unwrap();
        assert_eq!((system.id.as_str(), system.version.as_str()), ("debian", "12"), "{kind}");
        let errors = inspection.findings.iter().filter(|f| f.severity == Severity::Error);
        let codes: Vec<&str> = errors.map(|f| f.code).collect();
        assert_eq!(codes, ["no-provisioning", "no-fallback-loader", "no-kernel"], "{kind}");
    }
}

/// The crate collects all entries of a folder before it returns them.
#[test]
fn a_btrfs_folder_that_needs_too_much_memory_is_not_listed() {
    let source = source();
    let made = volume(source.path(), FsKind::Btrfs, &[]);
    let list = |memory| {
        let budget = Arc::new(Budget::new(Limits { memory, ..Limits::default() }));
        let fs = Btrfs::open(windowed(made.disk(), &budget), budget).unwrap();
        assert_eq!(fs.stat("/many/file-with-a-longer-name-0001").unwrap().size, 37);
        fs.list("/many").map(|entries| entries.len())
    };
    assert_eq!(list(Limits::default().memory).unwrap(), 600);
    assert!(matches!(list(100_000), Err(FsError::Unsupported(_))));
}

/// A small volume for damage: with and without checksums, because those hide what is behind them.
fn small_volumes() -> Vec<Made> {
    let source = source();
    let layouts = [LAYOUTS[0], LAYOUTS[1], LAYOUTS[3], LAYOUTS[4], LAYOUTS[5], LAYOUTS[7]];
    layouts.into_iter().map(|(kind, options)| volume(source.path(), kind, options)).collect()
}

/// Where metadata is: not zero, and not the long file's content. Damage there reaches the parsers.
fn interesting(disk: &dyn DiskReader) -> Vec<u64> {
    let (mut block, zeros) = (vec![0; 4096], vec![0; 4096]);
    let mut found = Vec::new();
    for offset in (0..disk.size()).step_by(4096) {
        disk.read_at(offset, &mut block).unwrap();
        if block == zeros {
            continue;
        }
        let mut seen = [false; 256];
        block.iter().for_each(|byte| seen[usize::from(*byte)] = true);
        let distinct = seen.iter().filter(|seen| **seen).count();
        if distinct > 2 && distinct < 180 {
            found.push(offset);
        }
    }
    found
}

/// A damaged inode states a target of 784 GiB. The crate would allocate it.
#[test]
fn an_impossible_length_of_a_symbolic_link_is_damage() {
    let source = source();
    let made = volume(source.path(), FsKind::Ext, &["-t", "ext4"]);
    let target = "x".repeat(80);
    for command in [&format!("symlink /broken-link {target}"), "sif /broken-link size 841813590221"] {
        run("e2fsprogs", "debugfs", &["-w", "-R", command, text(&made.path)]);
    }
    let fs = open(made.disk(), FsKind::Ext).unwrap();
    assert_eq!(fs.stat("/broken-link").unwrap().size, 841_813_590_221);
    assert!(matches!(fs.link("/broken-link"), Err(FsError::Damaged(_))), "{:?}", fs.link("/broken-link"));
    assert!(matches!(fs.open("/broken-link").map(|_| ()), Err(FsError::WrongKind(_))));
    assert!(matches!(fs.list("/broken-link"), Err(FsError::WrongKind(_))));
}

#[test]
fn a_damaged_linux_volume_is_read_to_an_end() {
    let volumes: Vec<_> =
        small_volumes().into_iter().map(|made| (interesting(&*made.disk()), made.disk(), made)).collect();
    let change = (any::<prop::sample::Index>(), 0..4096_u64, any::<u8>());
    let strategy = (0..volumes.len(), prop::collection::vec(change, 1..40));
    proptest!(damaged_config(), |((which, changes) in strategy)| {
        let (blocks, disk, Made { kind, .. }) = &volumes[which];
        let changes = changes.iter().map(|(block, at, value)| (block.get(blocks) + at, *value)).collect();
        let budget = budget();
        let damaged: Arc<dyn DiskReader> = Arc::new(Damaged { disk: Arc::clone(disk), changes });
        let disk = windowed(damaged, &budget);
        let opened: Result<Box<dyn FileSystem>, _> = match kind {
            FsKind::Ext => Ext::open(disk, Arc::clone(&budget)).map(|fs| Box::new(fs) as _),
            FsKind::Xfs => Xfs::open(disk, Arc::clone(&budget)).map(|fs| Box::new(fs) as _),
            _ => Btrfs::open(disk, Arc::clone(&budget)).map(|fs| Box::new(fs) as _),
        };
        if let Ok(fs) = opened {
            read_what_can_be_read(&*fs, "/", 4, &mut 60);
        }
        prop_assert!(budget.bytes_read() <= 1 << 30);
    });
}

#[test]
fn a_damaged_linux_disk_is_inspected_to_an_end() {
    let source = source();
    let disks: Vec<_> = [LAYOUTS[1], LAYOUTS[5], LAYOUTS[7]]
        .into_iter()
        .map(|(kind, options)| {
            let file = disk_of(&volume(source.path(), kind, options));
            let disk: Arc<dyn DiskReader> = Arc::new(RawFile::open(file.path()));
            (interesting(&*disk), disk, file)
        })
        .collect();
    let change = (any::<prop::sample::Index>(), 0..4096_u64, any::<u8>());
    let strategy = (0..disks.len(), prop::collection::vec(change, 1..40));
    proptest!(damaged_config(), |((which, changes) in strategy)| {
        let (blocks, disk, _) = &disks[which];
        let changes = changes.iter().map(|(block, at, value)| (block.get(blocks) + at, *value)).collect();
        let inspection = inspect(Arc::new(Damaged { disk: Arc::clone(disk), changes }), &Options::default());
        prop_assert!(inspection.usage.bytes_read <= 1 << 30 && inspection.usage.memory <= 256_000_000);
        let failed = inspection.findings.iter().find(|f| f.message.contains("the inspection failed"));
        prop_assert!(failed.is_none(), "{:?}", failed);
    });
}

/// The trees of real systems: the volumes in the folder `GOLDFLEET_DISKS`, and its subfolder `root` with what they must
/// hold.
#[test]
#[ignore = "needs real systems in GOLDFLEET_DISKS; tests/inside_disks.sh makes them"]
fn trees_of_real_systems_are_equal() {
    let base = PathBuf::from(std::env::var_os("GOLDFLEET_DISKS").unwrap());
    let (expected, unreadable) = sums_of_folder(&base.join("root"));
    if let Some(first) = unreadable.first() {
        println!("the driver cannot read {} files, for example {first}", unreadable.len());
    }
    let files = expected.len();
    assert!(files >= 14_000, "only {files} files");
    let mut volumes = 0;
    let kinds = [(FsKind::Ext, "ext4"), (FsKind::Xfs, "xfs"), (FsKind::Btrfs, "btrfs"), (FsKind::Ntfs, "ntfs")];
    for (kind, name) in kinds {
        let path = base.join(name);
        if !path.exists() {
            continue;
        }
        volumes += 1;
        let fs = open(Arc::new(RawFile::open(&path)), kind).unwrap();
        let mut found = BTreeMap::new();
        let mut add = |path: &str, kind: FileKind| {
            if kind == FileKind::File && expected.contains_key(path) {
                found.insert(path.to_owned(), sum(&read(&*fs, path)));
            }
        };
        walk(&*fs, "/", &mut add).unwrap();
        // A prototype file for mkfs.xfs cannot hold names with blanks, and takes a colon for the start of a comment.
        let known = |path: &&String| kind != FsKind::Xfs || !path.contains(char::is_whitespace) && !path.contains("/:");
        let different: Vec<&String> =
            expected.keys().filter(known).filter(|path| expected.get(*path) != found.get(*path)).collect();
        let compared = expected.keys().filter(known).count();
        let state = fs.info().dirty.clone().unwrap_or_else(|| "clean".into());
        println!("{name} ({state}): {} of {compared} files are equal", compared - different.len());
        assert!(
            different.is_empty(),
            "{name}: {} differ: {:?}",
            different.len(),
            &different[..different.len().min(20)]
        );
    }
    assert!(volumes > 0, "there is no volume in {}", base.display());
}

/// Length and checksum.
fn sum(bytes: &[u8]) -> (u64, u64) {
    // FNV-1a, 64 bits.
    let hash =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    (bytes.len() as u64, hash)
}

/// The regular files below a folder, on its own file system, and those that the driver cannot read.
fn sums_of_folder(base: &Path) -> (BTreeMap<String, (u64, u64)>, Vec<String>) {
    let (mut sums, mut unreadable) = (BTreeMap::new(), Vec::new());
    let mut folders = vec![base.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = format!("/{}", path.strip_prefix(base).unwrap().to_string_lossy());
                match fs::read(path) {
                    Ok(bytes) => drop(sums.insert(name, sum(&bytes))),
                    // A driver without a log leaves such a file behind if it is killed.
                    Err(error) => unreadable.push(format!("{name}: {error}")),
                }
            }
        }
    }
    (sums, unreadable)
}
