use std::path::Path;
use std::time::Duration;

use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::operation::OperationId;
use goldfleet_modelled::Limit;

use super::sync::{SyncRehearsal, SyncRunReport, rehearse_sync};
use super::*;

/// Six targets in three regions, 256 MiB of data, and `rates` that override the built-in ones.
fn rehearsal(rates: &str) -> Rehearsal {
    Rehearsal {
        config: config().unwrap(),
        targets: targets(6, 3).unwrap(),
        held: Inventory::default(),
        before: Vec::new(),
        image: version(256 << 20, 1, 100).unwrap(),
        rates: Rates::over_built_in(Path::new("test"), rates).unwrap(),
        workers: Some(2),
        seed: 1,
        route: UploadRoute::Staging,
    }
}

/// The route `region` publishes to galleries; a gallery needs no target in its region.
#[test]
fn galleries_are_rehearsed() {
    let gallery = |region: &str| {
        serde_json::from_value(serde_json::json!({
            "subscription": SubscriptionId::nth_for_tests(1), "resource_group": "images", "name": format!("in_{region}"),
            "region": region, "regions": [{ "name": "japaneast", "replicas": 2 }],
        }))
    };
    let mut rehearsal = rehearsal("");
    rehearsal.targets.galleries = ["westeurope", "brazilsouth"].map(|region| gallery(region).unwrap()).into();
    let report = rehearse(&rehearsal).unwrap();
    assert_eq!(report.routes.len(), 2);
    assert!(report.routes.iter().all(|route| route.failed == 0 && route.whole), "{:#?}", report.routes);
    assert_eq!(report.galleries.len(), 2);
    for gallery in &report.galleries {
        let ready = gallery.ready_seconds.unwrap();
        assert!(ready >= gallery.estimate_seconds && ready < 3.0 * gallery.estimate_seconds, "{gallery:#?}");
        assert_eq!((gallery.regions, gallery.replicas), (2, 3));
        assert!(gallery.egress_usd > 0.0 && gallery.storage_usd > 0.0);
    }
}

#[test]
fn every_target_is_complete_and_wan_carries_data_once_per_region() {
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

/// Of 150 targets in ten regions, the route `region` writes pages once for each region, and not for each target.
#[test]
fn region_route_writes_pages_once_for_each_region() {
    let rehearsal = Rehearsal { targets: targets(150, 10).unwrap(), workers: Some(8), ..rehearsal("") };
    let (staging, region) = (run_rehearsal(&rehearsal).unwrap(), run_rehearsal(&rehearsal.by_region()).unwrap());
    let [staging, region] = [(UploadRoute::Staging, &staging), (UploadRoute::Region, &region)]
        .map(|(route, run)| RouteReport::new(route, run));
    for route in [&staging, &region] {
        assert_eq!((route.failed, route.whole), (0, true), "{route:#?}");
        assert!(route.last_image_seconds >= route.estimate_seconds, "{route:#?}");
    }
    // 64 chunks and a footer.
    assert_eq!((staging.page_writes, region.page_writes), (150 * 65, 10 * 65));
    assert_eq!(region.management_writes, 150 * 3 + 10 * 5);
    assert!(region.wan_bytes.abs_diff(staging.wan_bytes) < staging.wan_bytes / 10, "the data, and manifests");
    assert!(region.requests_usd < staging.requests_usd && region.storage_usd < staging.storage_usd);
}

/// The reference image and fleets. The planner's test has the same goals.
#[test]
#[ignore = "takes a minute; run before a release: docs/release.md"]
fn region_route_of_the_reference_fleets() {
    for count in [150, 1000] {
        let rehearsal = Rehearsal {
            targets: targets(count, 10).unwrap(),
            image: version(30 << 30, 1, 100).unwrap(),
            // As many as are needed to work on all targets at the same time.
            workers: None,
            ..rehearsal("")
        };
        let run = run_rehearsal(&rehearsal.by_region()).unwrap();
        let bound = run.routes[0].estimate.time.total.mul_f64(1.1) + rehearsal.rates.snapshot();
        let report = RouteReport::new(UploadRoute::Region, &run);
        println!("{count} targets: {report:#?}, at most {bound:?}");
        assert_eq!((report.failed, report.whole), (0, true));
        assert!(report.page_writes <= 80_000 && run.last_image <= bound);
    }
}

#[test]
fn a_target_that_the_region_route_cannot_reach_leaves_the_other_route() {
    let mut rehearsal = rehearsal("");
    rehearsal.targets.targets[0].tenant = Some("00000000-0000-0000-0000-00000000000f".to_owned());
    let report = rehearse(&rehearsal).unwrap();
    let routes: Vec<&str> = report.routes.iter().map(|route| route.route.as_str()).collect();
    assert_eq!((routes, report.failed), (vec!["staging"], 0));
}

/// Limits so low that requests are throttled wherever throttling is possible.
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
fn same_seed_gives_same_events() {
    let first = run_rehearsal(&rehearsal(TIGHT)).unwrap();
    let again = run_rehearsal(&rehearsal(TIGHT)).unwrap();
    assert_eq!((first.failed, first.whole), (0, true));
    for limit in [Limit::PageBlob, Limit::ResourceManager] {
        assert!(first.stats.throttles.contains_key(&limit), "{:?}", first.stats.throttles);
    }
    assert!(first.events.len() > 30, "{} events", first.events.len());
    assert_eq!(first.events, again.events);
    assert_eq!(first.stats, again.stats);
    let other = run_rehearsal(&Rehearsal { seed: 2, ..rehearsal(TIGHT) }).unwrap();
    assert_ne!(first.events, other.events, "chance has no part in it");
}

#[test]
fn refresh_sends_only_changed_chunks_over_wan() {
    let before = version(1600 << 20, 1, 10).unwrap();
    let image = version(1600 << 20, 2, 10).unwrap();
    let played = run_rehearsal(&Rehearsal { before: vec![before], image, ..rehearsal("") }).unwrap();
    assert!(played.whole);
    // Exclude links that were used only to read the manifest of an earlier version.
    let wan: Vec<_> = played.stats.wan().map(|link| link.copied).filter(|copied| *copied > 0).collect();
    assert_eq!(wan, [160 << 20, 160 << 20]);
}

#[test]
fn baselines_take_longer_than_plan() {
    use baseline::{Baseline, compare};
    let rehearsal = rehearsal("");
    let star = compare(&rehearsal, Baseline::Star).unwrap();
    // Six times 256 MiB from one page blob at 60 MiB/s, and 60 s for the image.
    let expected = 60.0 + 6.0 * 256.0 / 60.0;
    assert!((star.last_image.as_secs_f64() - expected).abs() < 1.0, "{:?}", star.last_image);
    assert_eq!(star.stats.wan_bytes(), 4 * (256 << 20));
    let copied = compare(&rehearsal, Baseline::PreCopies).unwrap();
    assert!(copied.last_image < star.last_image);
    assert_eq!(copied.stats.wan_bytes(), star.stats.wan_bytes());
}

/// A fleet in which one account has different limits, with 1 GiB of data.
fn with_account(name: &str, ingress: f64, egress: f64) -> Rehearsal {
    let rates = format!(
        "[accounts]\ndate = \"never\"\nsource = \"made up\"\n[accounts.named.{name}]\n\
         ingress_gbit_per_second = {ingress}\negress_gbit_per_second = {egress}\nrequests_per_second = 20000"
    );
    Rehearsal { targets: targets(12, 3).unwrap(), image: version(1 << 30, 1, 100).unwrap(), ..rehearsal(&rates) }
}

#[test]
fn targets_fail_over_from_slow_store() {
    // The store of eastus is in the account of its first target, which sends at a thousandth of the usual rate.
    let slow = with_account("stage0000101", 60.0, 0.2);
    let around = run_rehearsal(&slow).unwrap();
    let mut config = slow.config.clone();
    config.worker.detours = false;
    let waited = run_rehearsal(&Rehearsal { config, ..slow.clone() }).unwrap();
    assert_eq!((around.failed, around.whole, waited.failed, waited.whole), (0, true, 0, true));
    let (around_took, waited_took) = (around.last_image.as_secs_f64() - 60.0, waited.last_image.as_secs_f64() - 60.0);
    // The share that still comes from the slow store depends on which worker takes a deferred copy.
    assert!(around_took * 1.5 < waited_took, "{around_took} s around it, {waited_took} s without");
    // Failover moves at most the data of its four targets, and no other region uses failover.
    let copied = |played: &RunResult, to: &str| {
        played.stats.wan().filter(|link| link.to.as_str() == to).map(|link| link.copied).sum::<u64>() >> 20
    };
    assert!((1024 + 1024..=5 * 1024).contains(&copied(&around, "eastus")), "{}", copied(&around, "eastus"));
    assert_eq!((copied(&around, "japaneast"), copied(&waited, "eastus")), (1024, 1024));
}

/// The time at which the last operation of a kind ended in some regions, in seconds. From `silent_after` on, the store
/// of eastus stops answering readers.
fn last(fleet: &Rehearsal, kind: &str, regions: &[&str], silent_after: Option<f64>) -> f64 {
    let played = run::run_rehearsal_with(fleet, |model| {
        if let Some(after) = silent_after {
            model.stall_source(&"stage0000101".parse().unwrap(), Duration::from_secs_f64(after));
        }
    });
    let played = played.unwrap();
    assert_eq!((played.failed, played.whole), (0, true));
    assert!(played.events.iter().all(|event| event.what != "retry"), "an attempt failed");
    let is_one = |id: &OperationId| {
        id.step() == kind && regions.iter().any(|region| id.group().as_str().starts_with(&format!("{region}-")))
    };
    let ends = played
        .events
        .iter()
        .filter(|event| event.what == "succeed" && event.operation.as_ref().is_some_and(is_one))
        .map(|event| event.at);
    let begun = played.events.iter().map(|event| event.at).min().unwrap();
    ends.max().unwrap().duration_since(begun).as_secs_f64()
}

/// A store that stops answering costs only the time of detection, not the request timeouts: 16 s until a chunk is
/// overdue, three probes in sequence, and the data that was not moved in that time.
#[test]
fn stalled_store_costs_only_detection_time() {
    let fleet = with_account("nobodys", 1.0, 1.0);
    let usual = last(&fleet, "copy", &["eastus"], None);
    for (when, after) in [("in the middle", usual / 2.0), ("with few chunks left", usual - 0.3)] {
        let silent = last(&fleet, "copy", &["eastus"], Some(after));
        println!("copies, {when}: {silent:.1} s, and {usual:.1} s usually");
        assert!((usual + 5.0..usual + 25.0).contains(&silent), "{when}: {silent} s, and {usual} s usually");
    }
    // With ten regions, two of them are filled from eastus.
    let relayed = Rehearsal { targets: targets(20, 10).unwrap(), ..fleet };
    let usual = last(&relayed, "seed", &["centralus", "westus3"], None);
    let silent = last(&relayed, "seed", &["centralus", "westus3"], Some(usual / 2.0));
    println!("seeds: {silent:.1} s, and {usual:.1} s usually");
    assert!((usual + 5.0..usual + 25.0).contains(&silent), "{silent} s, and {usual} s usually");
}

#[test]
fn slow_target_does_not_delay_others() {
    let others = |rehearsal: &Rehearsal| {
        let played = run_rehearsal(rehearsal).unwrap();
        assert_eq!((played.failed, played.whole), (0, true));
        // The group of subscription 2 in eastus has the same id in both runs.
        let is_other = |event: &&goldfleet_model::event::Event| {
            let image = event.operation.as_ref().is_some_and(|id| id.step() == "image");
            let target = event.operation.as_ref().map(ToString::to_string).unwrap_or_default();
            image && event.what == "succeed" && !target.starts_with("eastus-2-")
        };
        let ends = played.events.iter().filter(is_other).map(|event| event.at);
        let begun = played.events.iter().map(|event| event.at).min().unwrap();
        let last = ends.max().unwrap().duration_since(begun).as_secs_f64();
        (last, played.last_image.as_secs_f64())
    };
    let (usual, _) = others(&with_account("nobodys", 1.0, 1.0));
    // The account of one target accepts a fiftieth of the rate of a page blob.
    let (last, slow) = others(&with_account("stage0000201", 0.01, 50.0));
    assert!(slow > usual + 500.0, "the slow one took {slow} s");
    assert!(last <= usual * 1.01, "the others took {last} s, and {usual} s without it");
}

#[test]
fn invalid_rehearsals_are_rejected() {
    assert!(matches!(targets(1, 0), Err(RehearsalError::Invalid(_))));
    assert!(matches!(version(0, 1, 0), Err(RehearsalError::Invalid(_))));
    let empty = Rehearsal { targets: TargetsFile::default(), ..rehearsal("") };
    assert!(matches!(rehearse(&empty), Err(RehearsalError::NoTargets)));
}

/// Three disks of 1 GiB with two snapshots each, to a group in another region and one in the same region.
fn sync_rehearsal(full: bool, scratch: bool) -> SyncRehearsal {
    let scratch = if scratch {
        "scratch = { subscription = \"00000000-0000-0000-0000-000000000001\", resource_group = \"scratch\" }"
    } else {
        ""
    };
    let text = format!(
        r#"
        name = "nightly"
        from = {{ subscription = "00000000-0000-0000-0000-000000000001", resource_group = "snaps" }}
        names = ["none-of-the-generated-ones"]
        to = [
            {{ subscription = "00000000-0000-0000-0000-000000000002", region = "eastus", resource_group = "far" }},
            {{ subscription = "00000000-0000-0000-0000-000000000002", region = "westeurope", resource_group = "near" }},
        ]
        {scratch}
        "#
    );
    SyncRehearsal {
        config: config().unwrap(),
        sync: toml::from_str(&text).unwrap(),
        disks: 3,
        snapshots: 2,
        full,
        size: 1 << 30,
        changed: 64 << 20,
        rates: Rates::over_built_in(Path::new("test"), "").unwrap(),
        workers: None,
        seed: 1,
    }
}

#[test]
fn a_sync_moves_whole_disks_once_and_then_differences() {
    let report = rehearse_sync(&sync_rehearsal(false, false)).unwrap();
    assert!(report.complete, "{report:#?}");
    assert_eq!((report.first.copies, report.next.copies), (12, 6));
    let moved = |run: &SyncRunReport| run.links.iter().map(|link| link.bytes).sum::<u64>();
    // Only the copies to the other region move bytes between regions.
    assert_eq!(moved(&report.first), 3 * ((1 << 30) + (64 << 20)));
    assert_eq!(moved(&report.next), 3 * (64 << 20));
    assert!(report.first.seconds > report.next.seconds && report.first.egress_usd > report.next.egress_usd);
    assert!(
        u128::from(moved(&report.first))
            <= u128::from(report.first.estimate.whole_bytes_at_most + report.first.estimate.differences_bytes_at_most)
    );
}

#[test]
fn full_snapshots_move_whole_disks_each_time_and_need_a_scratch_group() {
    let report = rehearse_sync(&sync_rehearsal(true, true)).unwrap();
    assert!(report.complete, "{report:#?}");
    let moved = |run: &SyncRunReport| run.links.iter().map(|link| link.bytes).sum::<u64>();
    assert_eq!((moved(&report.first), moved(&report.next)), (6 << 30, 3 << 30));
    let report = rehearse_sync(&sync_rehearsal(true, false)).unwrap();
    assert!(!report.complete && report.first.findings.iter().all(|finding| finding.code == "scratch-missing"));
}
