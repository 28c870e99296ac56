use std::path::Path;

use goldfleet_shared::modelled::Limit;

use super::*;

/// Six targets in three regions, a quarter of a gibibyte of data, and what `rates` says over the built-in ones.
fn rehearsal(rates: &str) -> Rehearsal {
    Rehearsal {
        config: config().unwrap(),
        targets: targets(6, 3).unwrap(),
        held: Inventory::default(),
        before: Vec::new(),
        image: manifest(256 << 20, 1, 100).unwrap(),
        rates: Rates::over_built_in(Path::new("test"), rates).unwrap(),
        workers: Some(2),
        seed: 1,
    }
}

#[test]
fn every_target_gets_the_whole_disk_and_the_wan_carries_it_once_a_region() {
    let report = rehearse(&rehearsal("")).unwrap();
    assert_eq!((report.failed, report.whole, report.targets, report.regions), (0, true, 6, 3));
    let links: Vec<_> = report.links.iter().map(|link| (link.to.as_str(), link.bytes, link.times_data)).collect();
    assert_eq!(links, [("eastus", 256 << 20, 1.0), ("japaneast", 256 << 20, 1.0)]);
    assert!(report.single.target.ends_with("japaneast"), "{:?}", report.single);
    assert!(report.times_estimate >= 1.0 && report.first_image_seconds <= report.last_image_seconds, "{report:#?}");
    // 60 s for the image, and 256 MiB at 60 MiB/s.
    assert!((report.estimate.seconds - 60.0 - 256.0 / 60.0).abs() < 1e-6, "{:?}", report.estimate);
    assert_eq!(report.estimate.wan_bytes, 512 << 20);
}

/// Limits so tight that requests are refused wherever they can be.
const TIGHT: &str = r#"
    server_busy = { date = "never", source = "made up", behind_seconds = 0.05 }
    blob = { date = "never", source = "made up", page_blob_mib_per_second = 20 }
    [resource_manager]
    date = "never"
    source = "made up"
    write_burst = 1
    writes_per_second = 0.05
    read_burst = 4
    reads_per_second = 0.2
"#;

#[test]
fn the_same_seed_makes_the_same_events() {
    let first = play(&rehearsal(TIGHT)).unwrap();
    let again = play(&rehearsal(TIGHT)).unwrap();
    assert_eq!((first.failed, first.whole), (0, true));
    for limit in [Limit::PageBlob, Limit::ResourceManager] {
        assert!(first.stats.throttles.contains_key(&limit), "{:?}", first.stats.throttles);
    }
    assert!(first.events.len() > 30, "{} events", first.events.len());
    assert_eq!(first.events, again.events);
    assert_eq!(first.stats, again.stats);
    let other = play(&Rehearsal { seed: 2, ..rehearsal(TIGHT) }).unwrap();
    assert_ne!(first.events, other.events, "chance has no part in it");
}

#[test]
fn of_a_refresh_only_what_changed_crosses_the_wan() {
    let before = manifest(1600 << 20, 1, 10).unwrap();
    let image = manifest(1600 << 20, 2, 10).unwrap();
    let played = play(&Rehearsal { before: vec![before], image, ..rehearsal("") }).unwrap();
    assert!(played.whole);
    let wan: Vec<_> = played.stats.wan().map(|link| link.copied).collect();
    assert_eq!(wan, [160 << 20, 160 << 20]);
}

#[test]
fn what_others_do_takes_longer_on_the_same_model() {
    use baseline::{Baseline, compare};
    let rehearsal = rehearsal("");
    let star = compare(&rehearsal, Baseline::Star).unwrap();
    // Six times 256 MiB out of one page blob of 60 MiB/s, and 60 s for the image.
    let expected = 60.0 + 6.0 * 256.0 / 60.0;
    assert!((star.last_image.as_secs_f64() - expected).abs() < 1.0, "{:?}", star.last_image);
    assert_eq!(star.stats.wan_bytes(), 4 * (256 << 20));
    let copied = compare(&rehearsal, Baseline::PreCopies).unwrap();
    assert!(copied.last_image < star.last_image);
    assert_eq!(copied.stats.wan_bytes(), star.stats.wan_bytes());
}

#[test]
fn what_can_not_be_rehearsed_is_said() {
    assert!(matches!(targets(1, 0), Err(RehearsalError::Invalid(_))));
    assert!(matches!(manifest(0, 1, 0), Err(RehearsalError::Invalid(_))));
    let empty = Rehearsal { targets: TargetsFile::default(), ..rehearsal("") };
    assert!(matches!(rehearse(&empty), Err(RehearsalError::NoTargets)));
}
