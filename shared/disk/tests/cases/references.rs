//! Files that an image refers to.

use super::*;

#[test]
fn parent_is_checked_by_id() {
    let mut rng = Rng(4);
    let folder = tempfile::tempdir().unwrap();
    let (parent, child) = (folder.path().join("parent.vhd"), folder.path().join("child.vhd"));
    let content = os_disk(32 * M).bytes();
    let spec = |id: [u8; 16], of: Option<[u8; 16]>| vhd::Dynamic {
        id,
        parent: of.map(|id| (id, content.clone())),
        ..vhd::Dynamic::random(&mut Rng(8))
    };
    std::fs::write(&parent, spec([1; 16], None).write(&content, &mut rng)).unwrap();
    std::fs::write(&child, spec([2; 16], Some([1; 16])).write(&content, &mut rng)).unwrap();
    assert_eq!(errors(&with(&child, |_| {}).report), ["differencing"]);
    let parents = |paths: &[&PathBuf]| paths.iter().map(|path| (*path).clone()).collect::<Vec<_>>();
    assert_eq!(errors(&with(&child, |options| options.open.parents = parents(&[&parent])).report), NONE);
    std::fs::write(&parent, spec([3; 16], None).write(&content, &mut rng)).unwrap();
    let report = with(&child, |options| options.open.parents = parents(&[&parent])).report;
    assert_eq!(errors(&report), ["parent-mismatch"]);
    assert!(report.findings[0].message.contains("03030303-0303"), "{report:?}");
    // A file is not its own parent.
    let report = with(&child, |options| options.open.parents = parents(&[&child])).report;
    assert_eq!(errors(&report), ["parent-mismatch"]);
}

/// The number of files that are opened must not grow exponentially with the length of the chain.
#[test]
fn long_chains_are_opened_in_any_order() {
    const LENGTH: u8 = 28;
    let mut rng = Rng(11);
    let folder = tempfile::tempdir().unwrap();
    let path = |level: u8| folder.path().join(format!("{level}.vhd"));
    let level = |level: u8| vec![level; 8192];
    for n in 1..=LENGTH {
        let parent = (n > 1).then(|| ([n - 1; 16], level(n - 1)));
        let spec = vhd::Dynamic { id: [n; 16], parent, block_size: 4096, ..vhd::Dynamic::random(&mut rng) };
        std::fs::write(path(n), spec.write(&level(n), &mut rng)).unwrap();
    }
    let mut parents: Vec<PathBuf> = (1..LENGTH).map(path).collect();
    for _ in 0..2 {
        let options = OpenOptions { parents: parents.clone(), ..OpenOptions::default() };
        let open = goldfleet_disk::open(&path(LENGTH), &options).unwrap();
        assert_eq!(first_difference(&open.disk, &MemoryDisk(level(LENGTH)), 8192).unwrap(), None);
        parents.reverse();
    }
}

#[test]
fn files_named_in_images_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let raw = file("base.raw");
    os_disk(32 * M).write(&raw, None);
    let create = |options: &str, output: &str| {
        qemu::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, qemu::text(&file(output)), "32M"]);
    };
    create(&format!("backing_file={},backing_fmt=raw", qemu::text(&raw)), "backed.qcow2");
    create(&format!("data_file={}", qemu::text(&file("data.raw"))), "external.qcow2");
    for name in ["backed.qcow2", "external.qcow2"] {
        assert_eq!(errors(&with(&file(name), |_| {}).report), ["external-file"], "{name}");
    }
    // The field crypt_method of the header; 1 is AES, 2 is LUKS.
    let encrypted = file("encrypted.qcow2");
    qemu::convert(&raw, "qcow2", "", &encrypted, &[]);
    let mut bytes = std::fs::read(&encrypted).unwrap();
    bytes[32..36].copy_from_slice(&2_u32.to_be_bytes());
    std::fs::write(&encrypted, bytes).unwrap();
    assert_eq!(errors(&with(&encrypted, |_| {}).report), ["encrypted-image"]);
}

/// An extent of a split VMDK has the form of a whole disk. Read as one, it would be a disk without its end.
#[test]
fn extents_of_a_split_vmdk_need_their_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    os_disk(32 * M).write(&file("m.raw"), None);
    qemu::convert(&file("m.raw"), "vmdk", "subformat=twoGbMaxExtentSparse", &file("a.vmdk"), &[]);
    assert_eq!(errors(&with(&file("a.vmdk"), |_| {}).report), NONE);
    assert_eq!(errors(&with(&file("a-s001.vmdk"), |_| {}).report), ["extent-missing"]);
    std::fs::remove_file(file("a-s001.vmdk")).unwrap();
    let report = with(&file("a.vmdk"), |_| {}).report;
    assert_eq!(errors(&report), ["extent-missing"]);
    assert!(report.findings[0].message.contains("'a-s001.vmdk'"), "{report:?}");
}
