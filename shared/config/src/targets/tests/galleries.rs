//! Tests of galleries in targets files.

use super::*;

const GALLERY: &str = r#"
[[gallery]]
subscription = "00000000-0000-0000-0000-000000000001"
resource_group = "images"
name = "corp"
region = "westeurope"
"#;

#[test]
fn galleries_are_read_with_defaults() {
    let (_folder, path) = file(&format!("{GALLERY}images = [\"ubuntu-*\"]\nregions = [{{ name = \"eastus\" }}]\n"));
    let file = TargetsFile::load(&path).unwrap();
    let [gallery] = &file.galleries[..] else { panic!("{file:?}") };
    assert!(gallery.enabled && !gallery.create_definition && gallery.ring == 0);
    let regions: Vec<_> =
        gallery.all_regions().into_iter().map(|region| (region.name.to_string(), region.replicas)).collect();
    assert_eq!(regions, [("westeurope".to_owned(), 1), ("eastus".to_owned(), 1)]);
    let (ubuntu, other) = ("ubuntu-24.04".parse().unwrap(), "windows".parse().unwrap());
    assert_eq!(file.galleries_of(&ubuntu, &[]).len(), 1);
    assert!(file.galleries_of(&other, &[]).is_empty());
    assert!(file.galleries_of(&ubuntu, &["ring=0".parse().unwrap()]).is_empty(), "a selection selects targets only");
}

#[test]
fn faults_of_galleries_are_named() {
    for (lines, field, fault) in [
        ("name = \"my-gallery\"", "name", "not the name of a gallery"),
        ("definition = \"{image}/x\"", "definition", "resource name"),
        ("regions = [{ name = \"eastus\" }, { name = \"eastus\" }]", "regions", "named twice"),
        ("regions = [{ name = \"eastus\", replicas = 100 }]", "regions", "at most 100 replicas"),
        ("regions = [{ name = \"eastus\", replicas = 0 }]", "regions", "at least 1 replica"),
        ("features = { SecurityType = \"Standard\" }", "features", "set security_type"),
        ("region_timeout_hours = 0", "region_timeout_hours", "at least 1"),
        ("publisher = \"\"", "publisher", "1 to 128"),
        ("architecture = \"arm\"", "architecture", "arm64"),
        ("colour = \"red\"", "colour", "no such key"),
    ] {
        let key = lines.split(' ').next().unwrap();
        let kept: String = GALLERY
            .lines()
            .filter(|line| !line.starts_with(&format!("{key} ")))
            .map(|line| format!("{line}\n"))
            .collect();
        let (_folder, path) = file(&format!("{kept}{lines}\n"));
        let error = TargetsFile::load(&path).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains(fault), "{lines}: {error}");
    }
    let (_folder, path) = file(&format!("{GALLERY}{GALLERY}"));
    let error = TargetsFile::load(&path).unwrap_err().to_string();
    assert!(error.contains("has this definition already"), "{error}");
}
