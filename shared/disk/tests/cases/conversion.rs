//! Conversion to a fixed VHD.

use super::*;

#[test]
fn footer_depends_only_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(32 * M).write(&raw, None);
    let mut footers = vec![AzureDisk::open(&raw).unwrap().footer()];
    for format in ["qcow2", "vhdx", "vmdk"] {
        let image = folder.path().join(format);
        qemu::convert(&raw, format, "", &image, &[]);
        footers.push(AzureDisk::open(&image).unwrap().footer());
    }
    assert!(footers.windows(2).all(|pair| pair[0] == pair[1]));
    // Without a GUID, the id comes from size and content.
    let id = |byte: u8| {
        let mut disk = Pieces::new(32 * M);
        disk.put(0, mbr(&[(0x80, 0x83, 2048, 4096)])).put(100_000, [byte; 10]);
        disk.write(&raw, None);
        let options = OpenOptions { format: Some(StatedFormat::Raw), ..OpenOptions::default() };
        AzureDisk::new(&goldfleet_disk::open(&raw, &options).unwrap(), false).unwrap().footer()
    };
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
}

#[test]
fn convert_replaces_files_only_with_force() {
    let folder = tempfile::tempdir().unwrap();
    let (path, output) = (folder.path().join("a.vhd"), folder.path().join("out.vhd"));
    let disk = os_disk(32 * M);
    disk.write(&path, Some(&FooterSpec::fixed(disk.size).bytes()));
    let azure = AzureDisk::open(&path).unwrap();
    std::fs::write(&output, "mine").unwrap();
    let go = |force: bool, cancel: bool| {
        let options = ConvertOptions { force, ..ConvertOptions::default() };
        convert(&azure, &output, &options, &|_, _| {}, &AtomicBool::new(cancel))
    };
    assert!(go(false, false).unwrap_err().to_string().ends_with("exists"));
    assert!(go(true, true).unwrap_err().to_string().contains("cancelled"));
    assert_eq!(std::fs::read(&output).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file is left");
    go(true, false).unwrap();
    assert_eq!(std::fs::read(&output).unwrap(), std::fs::read(&path).unwrap());
}

#[test]
fn invalid_outputs_are_rejected_before_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    os_disk(32 * M).write(&path, Some(&FooterSpec::fixed(32 * M).bytes()));
    let azure = AzureDisk::open(&path).unwrap();
    let missing = folder.path().join("missing");
    std::fs::create_dir(folder.path().join("out.vhd")).unwrap();
    for (output, named) in [(folder.path().join("out.vhd"), "out.vhd"), (missing.join("out.vhd"), "missing:")] {
        let options = ConvertOptions { force: true, ..ConvertOptions::default() };
        let progress = |_, _| panic!("the disk was read");
        let error = convert(&azure, &output, &options, &progress, &AtomicBool::new(false)).unwrap_err();
        assert!(error.to_string().contains(named) && !error.to_string().contains(".goldfleet"), "{error}");
    }
}
