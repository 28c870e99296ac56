//! Backups of a GPT.

use super::*;

#[test]
fn gpt_backup_is_moved_or_reported() {
    // Enlarged: the backup is where the first copy says, and nothing is changed.
    let enlarged = gpt(&[E, (LINUX, 4096, N / 2 - 2048)], Gpt { backup_at: Some(N / 2 - 1), ..Gpt::default() });
    let report = report_of(&enlarged, None);
    assert_eq!(report.findings, []);
    // Missing: it is written again, and nothing else is changed.
    let folder = tempfile::tempdir().unwrap();
    let (path, output) = (folder.path().join("a.vhd"), folder.path().join("b.vhd"));
    let missing = gpt(&[E, L], Gpt { backup: false, ..Gpt::default() });
    missing.write(&path, Some(&FooterSpec::fixed(missing.size).bytes()));
    let checked = with(&path, |_| {});
    assert_eq!(codes_of(&checked.report, Severity::Note), ["gpt-backup-moved"]);
    let azure = checked.disk.unwrap();
    assert_eq!(azure.footer(), FooterSpec::fixed(missing.size).bytes());
    write_vhd(&azure, &output);
    only_allowed_changes(&missing.bytes(), &output);
    // Not where a partition is: the header's LastUsableLBA says that it may use all of the disk.
    let used = gpt(&[E, (LINUX, 4096, N - 1)], Gpt { backup: false, last_usable: Some(N - 1), ..Gpt::default() });
    let report = report_of(&used, None);
    assert_eq!((errors(&report), codes_of(&report, Severity::Warning)), (vec![], vec!["gpt-backup-damaged"]));
}

#[test]
fn damaged_gpt_header_is_repaired_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let (path, output) = (folder.path().join("a.vhd"), folder.path().join("b.vhd"));
    for size in [64 * M, 64 * M + 10 * 512] {
        for fault in [512_usize, 512 + 60, 1024 + 5] {
            let mut whole = Pieces::new(size);
            Gpt::default().write(&mut whole, &[E, L]);
            let whole = whole.bytes();
            let mut damaged = whole.clone();
            damaged[fault] ^= 1;
            if fault == 512 {
                damaged[512..1024].fill(0);
            }
            damaged.extend(FooterSpec::fixed(size).bytes());
            std::fs::write(&path, &damaged).unwrap();
            let report = with(&path, |_| {}).report;
            assert_eq!(errors(&report), ["gpt-repairable"]);
            assert!(report.findings[0].remedy.contains("--repair-gpt"), "{report:?}");
            let checked = with(&path, |options| options.repair_gpt = true);
            assert_eq!(errors(&checked.report), NONE, "{:?}", checked.report);
            assert_eq!(checked.report.generation, V2);
            let _ = std::fs::remove_file(&output);
            write_vhd(&checked.disk.unwrap(), &output);
            only_allowed_changes(&whole, &output);
        }
    }
    // Both copies damaged: nothing to repair from.
    let mut both = gpt(&[E, L], Gpt::default());
    both.put(512, [0; 512]).put((N - 1) * 512, [0; 512]);
    assert_eq!(errors_of(&both, None), ["gpt-damaged"]);
}
