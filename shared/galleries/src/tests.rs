//! Convergence of regions, promotion, and the rows of a gallery.

use std::collections::BTreeSet;

use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{GalleryVersionProperties, ResourceBody, ResourceType, VersionNumber};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::converge::{Existing, Reported, Wanted, change, classify, foreign, missing, reported};
use crate::graph::{GalleryRow, Golden, PlannedGallery, rows};
use crate::promotion::{Candidate, Refused, step};
use crate::publication::{Publication, Verification};
use crate::settings::Gallery;
use crate::spec::{PublishSpec, Published};

fn gallery() -> Gallery {
    serde_json::from_value(json!({
        "subscription": "00000000-0000-0000-0000-000000000001", "resource_group": "images", "name": "corp",
        "region": "westeurope", "create_definition": true, "security_type": "trusted-launch", "architecture": "arm64",
        "features": { "DiskControllerTypes": "SCSI, NVMe" }, "end_of_life_days": 90,
        "regions": [
            { "name": "eastus", "replicas": 2, "storage": "Standard_ZRS" },
            { "name": "westeurope", "replicas": 3 },
        ],
    }))
    .unwrap()
}

fn image() -> ImageRef {
    ImageRef {
        name: "ubuntu-24.04".parse().unwrap(),
        version: "1.0.10".parse().unwrap(),
        digest: goldfleet_model::hash::digest_of(b"any"),
    }
}

fn spec() -> PublishSpec {
    let published = Published {
        fleet: Uuid::from_u128(7),
        job: &"20261129-120000-0000".parse().unwrap(),
        image: &image(),
        os: OsType::Linux,
        generation: Generation::V2,
        source: "u1",
        data: &[],
        tags: &[("owner".to_owned(), "images".to_owned())].into(),
        now: Timestamp::UNIX_EPOCH,
    };
    PublishSpec::new(&gallery(), published).unwrap()
}

fn body() -> ResourceBody {
    spec().version_body().unwrap()
}

fn version(body: &ResourceBody) -> &GalleryVersionProperties {
    body.properties.gallery_version().unwrap()
}

fn ready(regions: &[&str]) -> BTreeSet<String> {
    regions.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn requests_have_what_the_configuration_says() {
    let spec = spec();
    assert!(spec.version.to_string().ends_with("/galleries/corp/images/ubuntu-24.04/versions/1.0.10"));
    let definition = &spec.definition["properties"];
    assert_eq!((&definition["architecture"], &definition["hyperVGeneration"]), (&json!("Arm64"), &json!("V2")));
    assert_eq!(definition["features"][0], json!({ "name": "SecurityType", "value": "TrustedLaunch" }));
    assert_eq!(definition["features"][1]["name"], "DiskControllerTypes");
    let profile = &spec.body["properties"]["publishingProfile"];
    assert_eq!(profile["excludeFromLatest"], true);
    assert_eq!(profile["endOfLifeDate"], "1970-04-01T00:00:00Z");
    let regions: Vec<_> = profile["targetRegions"].as_array().unwrap().iter().map(|region| &region["name"]).collect();
    assert_eq!(regions, ["westeurope", "eastus"], "the region of the gallery is first");
    assert_eq!(profile["targetRegions"][0]["regionalReplicaCount"], 3);
    assert_eq!(spec.body["properties"]["storageProfile"]["osDiskImage"]["source"]["id"], spec.source.to_string());
    let trial = spec.trial_body(&"eastus".parse().unwrap(), "1970").to_request_json();
    assert_eq!(trial["tags"]["goldfleet-source"], "1970");
    assert_eq!(trial["properties"]["creationData"]["galleryImageReference"]["id"], spec.version.to_string());
    assert_eq!((&trial["tags"]["goldfleet-role"], &trial["location"]), (&json!("temporary"), &json!("eastus")));
    let again: PublishSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn removed_regions_are_added_and_foreign_ones_stay() {
    let wanted = body();
    let mut found = wanted.clone();
    let profile = found.properties.gallery_version_mut().unwrap().publishing_profile.as_mut().unwrap();
    profile.target_regions.retain(|region| region.name != "eastus");
    profile.target_regions[0].name = "West Europe".to_owned();
    profile.target_regions.push(serde_json::from_value(json!({ "name": "Japan East" })).unwrap());
    assert_eq!(missing(version(&wanted), version(&found)), ["eastus"]);
    assert_eq!(foreign(version(&wanted), version(&found)), ["japaneast"]);
    let none = ready(&[]);
    let want = Wanted { body: version(&wanted), promoted: false, ready: &none, taken_out: None };
    let changed = change(want, &found).unwrap();
    let names: Vec<_> = version(&changed).regions().iter().map(|region| region.name.as_str()).collect();
    assert_eq!(names, ["West Europe", "Japan East", "eastus"]);
    assert_eq!(version(&changed).regions()[2].regional_replica_count, Some(2));
    assert_eq!(change(want, &changed), None, "it converges");
    let taken = Wanted { taken_out: Some("eastus"), ..want };
    assert_eq!(missing(version(&wanted), version(&change(taken, &changed).unwrap())), ["eastus"]);
}

#[test]
fn a_version_is_the_latest_only_where_it_is_ready() {
    let wanted = body();
    let one = ready(&["westeurope"]);
    let want = Wanted { body: version(&wanted), promoted: true, ready: &one, taken_out: None };
    let changed = change(want, &wanted).unwrap();
    let may = |region: &str| version(&changed).may_be_latest(&region.parse().unwrap());
    assert!(may("westeurope") && !may("eastus"));
    let withdrawn = change(Wanted { promoted: false, ..want }, &changed).unwrap();
    assert!(!version(&withdrawn).may_be_latest(&"westeurope".parse().unwrap()));
}

#[test]
fn regions_are_reported_with_their_progress() {
    let mut found = body();
    let status = json!({ "summary": [
        { "region": "West Europe", "state": "Completed", "progress": 100 },
        { "region": "East US", "state": "Failed", "details": "no capacity" },
    ] });
    let properties = found.properties.gallery_version_mut().unwrap();
    properties.replication_status = Some(serde_json::from_value(status).unwrap());
    assert_eq!(reported(version(&found), "westeurope"), Reported::Completed);
    assert_eq!(reported(version(&found), "eastus"), Reported::Failed("no capacity".to_owned()));
    assert_eq!(reported(version(&found), "japaneast"), Reported::Missing);
    assert_eq!(reported(version(&body()), "eastus"), Reported::Replicating(0));
}

#[test]
fn versions_of_others_are_not_changed() {
    let (fleet, image) = (Uuid::from_u128(7), image());
    assert_eq!(classify(fleet, &image, &body()), Existing::Same);
    let reason = |fleet, image: &ImageRef, body: &ResourceBody| match classify(fleet, image, body) {
        Existing::Foreign(reason) => reason,
        Existing::Same => panic!("it is the same"),
    };
    assert!(reason(Uuid::from_u128(8), &image, &body()).contains("tags of this fleet"));
    let other = ImageRef { digest: goldfleet_model::hash::digest_of(b"other"), ..image.clone() };
    assert!(reason(fleet, &other, &body()).contains("another content"));
    let untagged = ResourceBody { tags: [].into(), ..body() };
    assert!(reason(fleet, &image, &untagged).contains("tags of this fleet"));
}

#[test]
fn a_promotion_moves_backwards_only_on_request() {
    let number = |text: &str| text.parse::<VersionNumber>().unwrap();
    let candidate = |text: &str, may_be_latest, is_ours| {
        let id = spec().definition_id().child(ResourceType::GalleryVersion, &text.parse().unwrap());
        Candidate { id, number: number(text), may_be_latest, is_ours }
    };
    let others = [candidate("1.0.9", true, true), candidate("1.0.11", false, true)];
    assert_eq!(step(number("1.0.10"), &others, false).unwrap().exclude, []);
    let others = [candidate("1.0.9", true, true), candidate("1.0.10", true, true)];
    assert_eq!(step(number("1.0.9"), &others, false), Err(Refused::Backwards(number("1.0.10"))));
    assert_eq!(step(number("1.0.9"), &others, true).unwrap().exclude, [others[1].id.clone()]);
    let foreign = [candidate("2.0.0", true, false)];
    assert_eq!(step(number("1.0.9"), &foreign, true), Err(Refused::ForeignLatest(number("2.0.0"))));
}

#[test]
fn rows_create_the_version_and_remove_its_temporaries() {
    let spec = spec();
    let group = PlannedGallery::group_of(&gallery(), &spec.version);
    let planned = PlannedGallery { settings: gallery(), spec: spec.clone(), group, is_done: false };
    let golden = Golden { unique_id: None, after: Vec::new(), opens: Vec::new(), copy: json!({}), created_by: None };
    let of = |planned: &PlannedGallery| {
        rows(planned, vec![golden.clone()])
            .into_iter()
            .map(|row| (row.kind, row.position, row.always))
            .collect::<Vec<_>>()
    };
    let all = [("snapshot", 0, false), ("publish", 1, false), ("remove", 2, true), ("remove", 3, true)];
    assert_eq!(of(&planned), all);
    assert_eq!(of(&PlannedGallery { is_done: true, ..planned.clone() }), [("publish", 0, false)]);
    let publish = rows(&planned, vec![golden]).remove(1);
    assert_eq!(publish.spec, GalleryRow::Publish(Box::new(spec)));
}

#[test]
fn publications_name_regions_that_are_not_ready() {
    let mut publication = Publication::new(spec());
    assert_eq!(publication.not_ready(), ["westeurope", "eastus"]);
    publication.regions.entry("westeurope".to_owned()).or_default().ready = true;
    assert_eq!(publication.not_ready(), ["eastus"]);
    let name = Publication::record_name(&publication.spec.version);
    assert!(name.starts_with("publication.") && name.len() < 40, "{name}");
    let verification = Verification {
        image: image(),
        job: "20261129-120000-0000".parse().unwrap(),
        by: "me".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        locations: 1,
        faults: 0,
        read: false,
    };
    assert!(verification.succeeded_for(&image()));
    assert!(!Verification { faults: 1, ..verification.clone() }.succeeded_for(&image()));
    assert!(!Verification { locations: 0, ..verification }.succeeded_for(&image()));
}
