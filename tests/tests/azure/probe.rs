//! `doctor --probe` against the double of Resource Manager, whose undocumented behaviours a test can choose.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_azure::{AzureDiskPages, AzureInspector, AzureResources};
use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::doctor::probe::questions::{Answer, QUESTIONS};
use goldfleet_dispatcher::control::doctor::probe::record::{open_probes, results};
use goldfleet_dispatcher::control::doctor::probe::{ProbePorts, ProbeReport, ProbeRequest, probe};
use goldfleet_dispatcher::control::orphans::{OrphanOptions, OrphanResult, orphans};
use goldfleet_model::hash::Md5Sum;
use goldfleet_model::manifest::Generation;
use goldfleet_model::store::Container;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::Clock;
use goldfleet_ports::inspector::Inspector;
use goldfleet_tests::azure::arm::behaviours::{Behaviours, Checks, Renewal};
use goldfleet_tests::azure::arm::{Authorization, TenantState};
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

/// The time of the machine, and what was slept, so that no test waits.
#[derive(Clone, Default)]
struct SkippingClock(Arc<Mutex<Duration>>);

#[async_trait]
impl Clock for SkippingClock {
    fn now(&self) -> Timestamp {
        let slept = SignedDuration::try_from(*self.0.lock().unwrap()).unwrap();
        Timestamp::now().checked_add(slept).unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
        tokio::task::yield_now().await;
    }
}

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000000";
const SET: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/providers/\
                   Microsoft.Compute/diskEncryptionSets/set";

struct Scene {
    azure: AzureFixture,
    fleet: InProcessFleet,
    pages: AzureDiskPages,
    linked: AzureResources,
    inspector: Option<AzureInspector>,
}

impl Scene {
    fn new() -> Self {
        let azure = AzureFixture::start(2, &["westeurope"]);
        let clock = SkippingClock::default();
        let of_double = clock.clone();
        azure.manager.world().write(|world| {
            world.roles.clear();
            world.authorization = Authorization::Open;
            world.clock = goldfleet_tests::azure::arm::Clock::new(move || of_double.now());
            world.page_sources.insert("/golden/chunks/one".to_owned(), vec![7; 8192]);
            world.disk_encryption_sets.insert(SET.to_owned(), "westeurope".to_owned());
        });
        let mut fleet = azure.fleet(&GoldenSpec::spread(64 << 20, Generation::V2, 1 << 20, 1, 3));
        fleet.ports = Ports { clock: Arc::new(clock), ..fleet.ports };
        let pages = AzureDiskPages::new(azure.resources(), azure.blobs());
        let linked = azure.resources();
        Self { azure, fleet, pages, linked, inspector: None }
    }

    fn inspector(&self) -> Option<&dyn Inspector> {
        self.inspector.as_ref().map(|inspector| inspector as &dyn Inspector)
    }

    fn change(&self, change: impl FnOnce(&mut TenantState)) {
        self.azure.manager.world().write(change);
    }

    fn request(&self, region: &str) -> ProbeRequest {
        let container = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
        ProbeRequest {
            first: format!("{SUBSCRIPTION}1/westeurope/images").parse().unwrap(),
            second: Some(format!("{SUBSCRIPTION}2/{region}/images").parse().unwrap()),
            third: Some(format!("{SUBSCRIPTION}1/japaneast/images").parse().unwrap()),
            encryption_set: Some(SET.to_owned()),
            block_blob: Some(container.blob("chunks/one")),
            block_blob_md5: Some(*Md5Sum::of(&[7; 4096]).as_bytes()),
        }
    }

    async fn run_on(&self, ports: Ports, region: &str, stop: &CancellationToken) -> ProbeReport {
        let control = self.fleet.control_with(ports);
        let pages = ProbePorts { pages: Some(&self.pages), inspector: self.inspector(), linked: Some(&self.linked) };
        probe(&control, pages, &self.request(region), stop, &|_| {}).await.unwrap()
    }

    fn run(&self, region: &str) -> BTreeMap<String, (Answer, String)> {
        let report = self.azure.run(self.run_on(self.fleet.ports.clone(), region, &CancellationToken::new()));
        assert!(!report.interrupted && report.left.is_empty() && report.failure.is_none(), "{report:#?}");
        self.assert_clean();
        let asked: BTreeSet<&str> = report.result.measurements.iter().map(|found| found.id.as_str()).collect();
        let all = QUESTIONS.iter().map(|question| question.id);
        assert_eq!(asked, all.collect::<BTreeSet<_>>(), "each question has an answer");
        report.result.measurements.into_iter().map(|found| (found.id, (found.answer, found.detail))).collect()
    }

    /// Nothing of the probe exists, and no request violated what such blobs permit.
    fn assert_clean(&self) {
        assert_eq!((self.azure.manager.disks(), self.azure.manager.images()), (vec![], vec![]));
        assert_eq!(self.azure.manager.world().read(|world| world.galleries.len()), 0);
        let (access, violations) =
            self.azure.manager.world().read(|world| (world.disk_data.access(), world.disk_data.violations.clone()));
        assert_eq!((access, violations), (0, Vec::new()));
        let open = self.azure.run(open_probes(self.fleet.ports.records.as_ref())).unwrap();
        assert_eq!(open, []);
    }
}

/// The answers that the probe gives for a behaviour of the double.
fn assert_answers(found: &BTreeMap<String, (Answer, String)>, expected: &[(&str, Answer)]) {
    for (id, answer) in expected {
        assert_eq!(found[*id].0, *answer, "{id}: {:?}", found[*id]);
    }
}

#[test]
fn each_behaviour_is_measured_both_ways() {
    let scene = Scene::new();
    let (yes, no) = (Answer::Yes, Answer::No);
    let all = |answer| {
        ["page-crc64", "page-md5-returned", "page-source-md5", "page-block-blob", "sas-renewal", "sas-expiry"]
            .into_iter()
            .chain(["image-from-incremental", "image-outlives-snapshot", "encryption-set-at-copy"])
            .chain(["gallery-from-incremental", "gallery-shallow-disk"])
            .map(|id| (id, answer))
            .collect::<Vec<_>>()
    };
    scene.change(|world| {
        world.behaviours = Behaviours {
            image_from_other_subscription: true,
            copies_of_one_at_once: true,
            expiry_ends_access: true,
            ..Behaviours::default()
        };
    });
    let near = scene.run("westeurope");
    assert_answers(&near, &all(yes));
    let across = ["copy-across-subscriptions", "image-across-subscriptions", "copy-start-in-region"];
    assert_answers(&near, &across.map(|id| (id, yes)));
    assert!(near["sas-renewal"].1.contains("another URL"), "{near:#?}");
    let far = scene.run("eastus");
    let remote =
        ["copy-start-across-subscriptions", "copy-start-at-once", "copy-start-two-regions", "copy-start-from-copy"];
    assert_answers(&far, &remote.map(|id| (id, yes)));
    assert_answers(&far, &across.map(|id| (id, Answer::Unmeasured)));
    assert_answers(&far, &[("auxiliary-tokens", Answer::Unmeasured)]);

    scene.change(|world| {
        world.behaviours = Behaviours {
            copy_across_subscriptions: false,
            copy_start_in_region: false,
            copy_start_from_copy: false,
            image_outlives_snapshot: false,
            encryption_set_at_copy: false,
            copies_to_regions_at_once: false,
            gallery_shallow_disk: false,
            renewal: Renewal::EndsFirst,
            page_crc64: Checks::Ignored,
            page_source_md5: Checks::Ignored,
            page_answer_md5: false,
            block_blob_source: true,
            ..Behaviours::default()
        };
    });
    let near = scene.run("westeurope");
    let mut expected = all(no);
    let unchanged = ["image-from-incremental", "page-block-blob", "gallery-from-incremental"];
    expected.retain(|(id, _)| !unchanged.contains(id));
    assert_answers(&near, &expected);
    assert_answers(&near, &across.map(|id| (id, no)));
    let far = scene.run("eastus");
    assert_answers(
        &far,
        &[("copy-start-across-subscriptions", yes), ("copy-start-at-once", no), ("copy-start-from-copy", no)],
    );
    assert_answers(&far, &[("copy-start-two-regions", no)]);

    scene.change(|world| {
        world.behaviours = Behaviours {
            image_from_incremental: false,
            copy_start_across_subscriptions: false,
            gallery_from_incremental: false,
            renewal: Renewal::Refused,
            page_crc64: Checks::Refused,
            block_blob_source: false,
            ..Behaviours::default()
        };
    });
    let far = scene.run("eastus");
    assert_answers(
        &far,
        &[("image-from-incremental", no), ("copy-start-across-subscriptions", no), ("sas-renewal", no)],
    );
    assert_answers(
        &far,
        &[("page-crc64", no), ("page-block-blob", no), ("image-outlives-snapshot", Answer::Unmeasured)],
    );
    assert!(far["page-crc64"].1.contains("is refused"), "{far:#?}");
    assert_answers(&far, &[("gallery-from-incremental", no), ("gallery-shallow-disk", Answer::Unmeasured)]);

    scene.change(|world| world.behaviours = Behaviours { renewal: Renewal::SameUrl, ..Behaviours::default() });
    let near = scene.run("westeurope");
    assert!(near["sas-renewal"].0 == yes && near["sas-renewal"].1.contains("the same URL"), "{near:#?}");
    // All of it is stored by place and date, the newest first.
    let stored = scene.azure.run(results(scene.fleet.ports.records.as_ref())).unwrap();
    assert_eq!(stored.len(), 6);
    let of_near: Vec<_> = stored.iter().filter(|result| result.places[1].contains("westeurope")).collect();
    assert!(of_near.windows(2).all(|pair| pair[0].at > pair[1].at), "{of_near:#?}");
}

/// A second place in another tenant: the service refuses the copy, and the probe repeats it with a token of both
/// tenants.
#[test]
fn auxiliary_tokens_are_measured_both_ways() {
    let mut scene = Scene::new();
    // It reads the tenants: the service refuses a source for lack of a right with the same code.
    scene.inspector = Some(scene.azure.inspector());
    scene.change(|world| {
        for subscription in world.subscriptions.iter_mut().filter(|found| found.id.ends_with('2')) {
            subscription.tenant = "22222222-2222-2222-2222-222222222222".to_owned();
        }
    });
    for (region, permitted, answer) in [("westeurope", true, Answer::Yes), ("eastus", false, Answer::No)] {
        scene.change(|world| world.behaviours = Behaviours { auxiliary_tokens: permitted, ..Behaviours::default() });
        let found = scene.run(region);
        assert_answers(&found, &[("auxiliary-tokens", answer)]);
        let others = ["copy-across-subscriptions", "copy-start-across-subscriptions", "copy-start-in-region"];
        assert_answers(&found, &others.map(|id| (id, Answer::Unmeasured)));
    }
}

/// The probe is interrupted after the effect of each of its requests to create something, and cleans up.
#[test]
fn interruption_at_any_request_leaves_nothing() {
    let scene = Scene::new();
    for name in ["ResourceService.put", "DiskAccess.begin"] {
        for nth in 0..100 {
            let faults = Faults::failing_at(name, nth, LostPart::Caller);
            let stop = CancellationToken::new();
            let report = scene.azure.run(async {
                let ports = with_faults(&scene.fleet.ports, &faults);
                let cancel = async {
                    faults.reached().await;
                    stop.cancel();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    report = scene.run_on(ports, "eastus", &stop) => report,
                    () = cancel => unreachable!("it does not end"),
                }
            });
            scene.assert_clean();
            if !faults.was_hit() {
                assert!(nth > 2, "{name} was called");
                break;
            }
            assert!(report.interrupted && report.left.is_empty(), "{name} {nth}: {report:#?}");
        }
    }
    assert_eq!(
        scene.azure.run(results(scene.fleet.ports.records.as_ref())).unwrap().len(),
        2,
        "the last of each was complete"
    );
}

/// A lost answer is no failure, and a refusal in the middle leaves nothing.
#[test]
fn failing_requests_leave_nothing() {
    let scene = Scene::new();
    for name in
        ["ResourceService.put", "ResourceService.get", "DiskAccess.begin", "DiskAccess.end", "ResourceService.delete"]
    {
        for nth in [0, 1, 2] {
            let faults = Faults::failing_at(name, nth, LostPart::Answer);
            let ports = with_faults(&scene.fleet.ports, &faults);
            let report = scene.azure.run(scene.run_on(ports, "eastus", &CancellationToken::new()));
            assert!(report.left.is_empty() && faults.was_hit(), "{name} {nth}: {report:#?}");
            scene.assert_clean();
        }
    }
    scene.change(|world| world.groups.retain(|group| !group.subscription.ends_with('1')));
    let report = scene.azure.run(scene.run_on(scene.fleet.ports.clone(), "eastus", &CancellationToken::new()));
    assert_eq!(report.failure.unwrap().code, "resource-group-not-found");
    scene.assert_clean();
}

/// What a killed probe left is found by `cleanup --orphans`, and deleted after a day.
#[test]
fn orphans_of_a_killed_probe_are_found() {
    let scene = Scene::new();
    scene.azure.run(async {
        let faults = Faults::failing_at("ResourceService.put", 8, LostPart::Caller);
        let (ports, never) = (with_faults(&scene.fleet.ports, &faults), CancellationToken::new());
        tokio::select! {
            _ = scene.run_on(ports, "eastus", &never) => panic!("it ended"),
            () = faults.reached() => {}
        }
    });
    let (ports, control): (&Ports, ControlContext) = (&scene.fleet.ports, scene.fleet.control_with_own_ports());
    let of_galleries = || scene.azure.manager.world().read(|world| world.galleries.len());
    let count = scene.azure.manager.disks().len() + scene.azure.manager.images().len() + of_galleries();
    assert!(count >= 6 && of_galleries() == 3, "{count}");
    let kinds = |delete| {
        let found = scene.azure.run(orphans(&control, &OrphanOptions { delete, ended: None })).unwrap();
        found.temporaries.iter().map(|line| line.result).collect::<Vec<_>>()
    };
    assert_eq!(kinds(true), vec![OrphanResult::InUse; count]);
    // The tokens of the process do not last a day, so the double keeps the time of the machine.
    scene.change(|world| world.clock = goldfleet_tests::azure::arm::Clock::default());
    scene.azure.run(ports.clock.sleep(Duration::from_secs(25 * 3600)));
    let deleted = kinds(true);
    assert!(deleted.iter().all(|result| *result == OrphanResult::Deleted), "{deleted:?}");
    assert_eq!((scene.azure.manager.disks(), scene.azure.manager.images()), (vec![], vec![]));
    assert_eq!(of_galleries(), 0);
}
