//! Files that are compressed as a whole.

use super::*;

/// Program, suffix, and the name in messages.
const COMPRESSIONS: [(&str, &str, &str); 4] =
    [("gzip", "gz", "gzip"), ("xz", "xz", "xz"), ("zstd", "zst", "zstd"), ("bzip2", "bz2", "bzip2")];

/// Compresses a file with a program that keeps it, and returns the path of the result.
fn compress(program: &str, suffix: &str, file: &Path) -> PathBuf {
    qemu::run(program, &["-k", "-f", "-1", qemu::text(file)]);
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

/// Runs the command in a remedy, and returns whether it succeeded.
fn run_remedy(report: &Report) -> bool {
    let (_, command) = report.findings[0].remedy.split_once("test ").unwrap();
    std::process::Command::new("sh").args(["-c", &format!("test {command}")]).status().unwrap().success()
}

#[test]
fn random_access_formats_are_rejected_in_streams() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(32 * M).write(&raw, None);
    for (n, (format, options, name)) in [
        ("vpc", "subformat=dynamic,force_size", "a dynamic or differencing VHD"),
        ("vhdx", "", "a VHDX"),
        ("qcow2", "", "a qcow2 image"),
        ("vmdk", "subformat=monolithicSparse", "a VMDK"),
        ("vmdk", "subformat=streamOptimized", "a VMDK"),
    ]
    .into_iter()
    .enumerate()
    {
        let image = folder.path().join(format!("it's image {n}.{format}"));
        qemu::convert(&raw, format, options, &image, &[]);
        for (program, suffix, compression) in COMPRESSIONS {
            let stream = compress(program, suffix, &image);
            let report = with(&stream, |_| {}).report;
            assert_eq!(errors(&report), ["compressed-random-access"], "{format} in {program}");
            let message = &report.findings[0].message;
            assert!(message.contains(&format!("it is {name} compressed with {compression}")), "{message}");
            // The command does not replace the image. In another folder, it writes one that can be used.
            assert!(!run_remedy(&report));
            let other = folder.path().join(program).join(stream.file_name().unwrap());
            std::fs::create_dir_all(other.parent().unwrap()).unwrap();
            std::fs::rename(&stream, &other).unwrap();
            assert!(run_remedy(&with(&other, |_| {}).report));
            assert_eq!(errors(&with(&other.with_extension(""), |_| {}).report), NONE, "{format} in {program}");
        }
    }
}

#[test]
fn nested_compression_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(20 * M).write(&raw, None);
    let outer = compress("gzip", "gz", &compress("xz", "xz", &raw));
    // The command works for any name.
    let named = folder.path().join("golden.vhd");
    std::fs::rename(outer, &named).unwrap();
    let report = with(&named, |_| {}).report;
    assert_eq!(errors(&report), ["compressed-random-access"]);
    assert!(report.findings[0].message.contains("it is an xz file compressed with gzip"), "{report:?}");
    assert!(run_remedy(&report));
    assert_eq!(errors(&with(&named.with_extension("decompressed"), |_| {}).report), NONE);
}

/// A command that reads the compressed file as the image would convert the compressed bytes.
#[test]
fn unsupported_formats_in_streams_are_decompressed_first() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, vdi, dmg) = (folder.path().join("m.raw"), folder.path().join("a.vdi"), folder.path().join("a.dmg"));
    os_disk(20 * M).write(&raw, None);
    qemu::convert(&raw, "vdi", "", &vdi, &[]);
    std::fs::write(&dmg, [&[7; 9000][..], b"koly", &[0; 508]].concat()).unwrap();
    for image in [vdi, dmg] {
        let stream = compress("gzip", "gz", &image);
        std::fs::remove_file(&image).unwrap();
        let report = with(&stream, |_| {}).report;
        assert_eq!(errors(&report), ["other-format"]);
        assert!(run_remedy(&report), "{report:?}");
        assert!(image.exists());
    }
}

#[test]
fn archives_are_reported_and_raw_disks_read_in_streams() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let raw = file("m.raw");
    os_disk(32 * M).write(&raw, None);
    qemu::run("tar", &["-cf", qemu::text(&file("a.tar")), "-C", qemu::text(folder.path()), "m.raw"]);
    qemu::run("xz", &["-1", qemu::text(&file("a.tar"))]);
    let report = with(&file("a.tar.xz"), |_| {}).report;
    assert_eq!(errors(&report), ["not-a-disk-image"]);
    assert!(report.findings[0].message.contains("tar archive"), "{report:?}");
    // A raw disk and a fixed VHD are read.
    qemu::run("zstd", &["-q", qemu::text(&raw)]);
    let checked = with(&file("m.raw.zst"), |_| {});
    assert_eq!(errors(&checked.report), [""; 0]);
    let image = checked.image.unwrap();
    assert!(image.sequential && image.format == Format::Raw);
}

/// Copying in large blocks leaves zero bytes after the stream.
#[test]
fn damaged_ends_of_streams_report_the_actual_cause() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(20 * M).write(&raw, None);
    for (program, suffix, _) in COMPRESSIONS {
        let stream = compress(program, suffix, &raw);
        let whole = std::fs::read(&stream).unwrap();
        let check = |bytes: &[u8]| {
            std::fs::write(&stream, bytes).unwrap();
            with(&stream, |_| {}).report
        };
        assert_eq!(errors(&check(&[&whole[..], &[0; 600_000]].concat())), NONE, "{program}");
        // Two parts are one disk, which does not end with its backup GPT.
        assert_eq!(errors(&check(&[&whole[..], &whole, &[0; 512]].concat())), ["raw"], "{program}");
        let report = check(&[&whole[..], &[0; 512], b"more"].concat());
        assert_eq!(errors(&report), ["damaged"], "{program}");
        let report = check(&whole[..whole.len() / 2]);
        assert_eq!(errors(&report), ["damaged"], "{program}");
        assert!(report.findings[0].message.contains("is cut short"), "{report:?}");
    }
}
