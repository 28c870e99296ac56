use std::io::Write as _;

use super::*;
use crate::budget::Limits;

struct Bytes(Vec<u8>);

impl FileReader for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        // Short reads, so that the buffering is tested.
        let rest = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or(&[]);
        let count = rest.len().min(buffer.len()).min(20_000);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

fn read(bytes: Vec<u8>) -> Result<Initramfs, InitramfsError> {
    Initramfs::read(&mut Bytes(bytes), &Budget::new(Limits::default()))
}

pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in files.iter().copied().chain([("TRAILER!!!", &b""[..])]) {
        let mode = if name == "TRAILER!!!" { 0 } else { 0o100_644 };
        let fields = [1, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        write!(out, "070701").unwrap();
        fields.iter().for_each(|f| write!(out, "{f:08X}").unwrap());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn main_archive() -> Vec<u8> {
    archive(&[
        ("usr/lib/modules/6.1.0/kernel/drivers/hv/hv_vmbus.ko.xz", &[7; 30_000]),
        ("lib/modules/6.1.0/kernel/drivers/scsi/sd-mod.ko", b"x"),
        ("etc/modprobe.d/x.conf", b"blacklist floppy\n"),
        ("usr/lib/dracut/hooks/y", b""),
    ])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn check(found: &Initramfs) {
    assert!(found.has_module("6.1.0", "hv_vmbus") && found.has_module("6.1.0", "sd_mod"));
    assert!(!found.has_module("6.1.1", "hv_vmbus"));
    assert_eq!(
        found.files("etc/modprobe.d", ".conf").collect::<Vec<_>>(),
        [("etc/modprobe.d/x.conf", "blacklist floppy\n")]
    );
    assert!(found.dracut && !found.network);
}

#[test]
fn plain_and_gzip_archives_are_read() {
    check(&read(main_archive()).unwrap());
    check(&read(gzip(&main_archive())).unwrap());
}

#[test]
fn microcode_before_the_compressed_archive() {
    let mut bytes = archive(&[("kernel/x86/microcode/GenuineIntel.bin", &[1; 5000])]);
    bytes.extend([0; 512]);
    bytes.extend(gzip(&main_archive()));
    bytes.extend([0; 100]);
    bytes.extend(gzip(&archive(&[("lib/modules/6.1.0/extra.ko.zst", b"")])));
    let found = read(bytes).unwrap();
    check(&found);
    assert!(found.has_module("6.1.0", "extra"));
}

#[test]
fn other_compressions_are_read() {
    use std::process::{Command, Stdio};
    for command in
        [&["xz", "-9", "--check=crc32"][..], &["xz", "--format=lzma"], &["zstd", "-19"], &["lz4", "-l", "-9"]]
    {
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{} is needed for this test (packages xz-utils, zstd, lz4): {e}", command[0]));
        child.stdin.take().unwrap().write_all(&main_archive()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{command:?}");
        let mut padded = out.stdout.clone();
        check(&read(out.stdout).unwrap_or_else(|e| panic!("{command:?}: {e}")));
        padded.extend([0; 1000]);
        check(&read(padded.clone()).unwrap_or_else(|e| panic!("{command:?} with zeros after it: {e}")));
        padded.truncate(padded.len() - 1000 - 40);
        assert!(read(padded).is_err(), "{command:?} cut off");
    }
}

#[test]
fn damage_is_an_error() {
    let plain = main_archive();
    assert!(read(Vec::new()).is_err());
    assert!(read(plain[..20_000].to_vec()).is_err(), "cut off");
    assert!(read(b"not an initramfs".to_vec()).is_err());
    let gzip = gzip(&plain);
    assert!(read(gzip[..gzip.len() - 20].to_vec()).is_err(), "cut off in gzip");
    let mut flipped = gzip.clone();
    // The last 8 bytes are the checksum and the length. What a change in the middle does depends on the compressor.
    let checksum = flipped.len() - 8;
    flipped[checksum] ^= 0x55;
    assert!(read(flipped).is_err(), "a wrong checksum is found");
}

#[test]
fn an_archive_of_too_many_names_is_refused() {
    let entry = archive(&[("a", b"")]);
    let one = &entry[..112];
    let mut bytes = one.repeat(MAX_NAMES as usize + 1);
    bytes.extend(&entry[112..]);
    assert!(matches!(read(bytes), Err(InitramfsError::TooLarge("200,000 files"))));
}

#[test]
fn module_names_are_normalised() {
    assert_eq!(module_name("hv-balloon.ko.zst").as_deref(), Some("hv_balloon"));
    assert_eq!(module_name("x.ko.gz").as_deref(), Some("x"));
    assert_eq!(module_name("x.txt"), None);
}

#[test]
fn zstd_windows_are_read_from_the_header() {
    // No single segment, window descriptor 0x58: 2^(10+11) bytes.
    assert_eq!(zstd_header(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]), 2 << 20);
    // Single segment with a content size of 4 bytes.
    assert_eq!(zstd_header(&[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 1, 0]), 65_536);
}

fn zstd_header(header: &[u8]) -> u64 {
    segments::zstd_window(header)
}
