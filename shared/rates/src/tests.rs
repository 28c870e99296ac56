use std::path::Path;

use super::*;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

#[test]
fn built_in_rates_match_sources() {
    let rates = Rates::built_in().unwrap();
    let price = |from: &str, to: &str| rates.egress_price(&region(from), &region(to));
    assert_eq!(price("westeurope", "westeurope"), 0);
    assert_eq!(price("westeurope", "northeurope"), 20_000);
    assert_eq!(price("westeurope", "eastus"), 50_000);
    assert_eq!(price("japaneast", "koreacentral"), 80_000);
    assert_eq!(price("brazilsouth", "chilecentral"), 160_000);
    assert_eq!(price("brazilsouth", "eastus"), 160_000);
    assert_eq!(rates.page_blob(), 60 << 20);
    assert_eq!(rates.account(&region("westeurope")).egress(), 25_000_000_000);
    assert_eq!(rates.account(&region("ukwest")).egress(), 6_250_000_000);
    assert_eq!(rates.wan(&region("westeurope"), &region("eastus")), 1_437_500_000);
}

#[test]
fn unknown_region_uses_highest_price() {
    let rates = Rates::built_in().unwrap();
    let moon = region("moonnorth");
    assert!(!rates.knows(&moon));
    assert_eq!(rates.continent(&moon), UNKNOWN);
    assert_eq!(rates.egress_price(&moon, &region("eastus")), 160_000);
    assert_eq!(rates.egress_price(&moon, &region("moonsouth")), 160_000);
    assert_eq!(rates.egress_price(&region("eastus"), &moon), 50_000);
    assert_eq!(rates.account(&moon), &rates.accounts.other);
}

#[test]
fn rates_file_overrides_named_keys() {
    let text = r#"
        [geography]
        date = "2027"
        source = "us"
        regions.moonnorth = { continent = "moon" }
        [egress]
        date = "2027"
        source = "us"
        continents.moon = { inside = 0.5, leaving = 1 }
        [wan]
        date = "2027"
        source = "us"
        pair = [{ from = "moonnorth", to = "eastus", gbit_per_second = 0.8 }]
    "#;
    let rates = Rates::over_built_in(Path::new("mine.toml"), text).unwrap();
    let (moon, east, west) = (region("moonnorth"), region("eastus"), region("westus"));
    assert_eq!(rates.egress_price(&moon, &east), 1_000_000);
    assert_eq!(rates.egress_price(&east, &west), 20_000);
    assert_eq!(rates.wan(&moon, &east), 100_000_000);
    assert_eq!(rates.wan(&east, &moon), 100_000_000);
    assert_eq!(rates.wan(&east, &west), 1_437_500_000);
}

#[test]
fn round_trip_uses_pair_then_continent() {
    let rates = Rates::built_in().unwrap();
    let ms = |from: &str, to: &str| rates.round_trip(&region(from), &region(to)).as_millis();
    assert_eq!((ms("japaneast", "westeurope"), ms("westeurope", "japaneast")), (235, 235));
    assert_eq!((ms("westus", "westus"), ms("westus", "eastus"), ms("westus", "koreacentral")), (1, 40, 180));
    assert_eq!((ms("moon", "eastus"), ms("moon", "moonsouth")), (180, 180), "nobody knows where the moon is");
}

/// The sections that only the modelled cloud uses are read and checked, and need a date and a source, like all others.
#[test]
fn rates_round_trip() {
    let text = "[stream]\ndate = \"2027\"\nsource = \"us\"\nmb_per_second = 80\n";
    let rates = Rates::over_built_in(Path::new("mine.toml"), text).unwrap();
    assert_eq!(rates.stream.mb_per_second, 80.0);
    let written = toml::to_string(&rates).unwrap();
    assert_eq!(Rates::over_built_in(Path::new("written.toml"), &written).unwrap(), rates);
}

#[test]
fn rates_errors_name_file_field_and_rule() {
    let marks = "date = \"2027\"\nsource = \"us\"\n";
    let bad = [
        "[wan".to_owned(),
        "[wan]\ngbit_per_second = 3\n".to_owned(),
        format!("[wan]\n{marks}gbit_per_second = 0"),
        format!("[wan]\n{marks}mbit_per_second = 3"),
        format!("[wan]\n{marks}gbit_per_second = \"3\""),
        "[wan]\ndate = \"\"\nsource = \" \"".to_owned(),
        format!("[wan]\n{marks}\n[[wan.pair]]\nfrom = \"eastus\"\nto = \"eastus\"\ngbit_per_second = -1"),
        format!("[wan]\n{marks}\n[[wan.pair]]\nfrom = \"eastus\"\nto = \"westus\""),
        format!("[egress]\n{marks}gigabyte = 1000\ncontinents.europe = {{ leaving = -0.1 }}"),
        format!("[egress]\n{marks}continents.moon = {{ leaving = 0.1 }}"),
        format!("[geography]\n{marks}regions.moonnorth = {{ continent = \"moon\" }}"),
        format!("[geography]\n{marks}regions.\"Moon North\" = {{ continent = \"moon\" }}"),
        format!("[weather]\n{marks}"),
        format!("[image]\n{marks}seconds = nan"),
        format!("[server_busy]\n{marks}behind_seconds = -1"),
        format!("[latency]\n{marks}pair = [{{ from = \"eastus\", to = \"eastus\", ms = 1e9 }}]"),
        "[control]\npoll_seconds = 2\n".to_owned(),
    ];
    let said: Vec<String> =
        bad.iter().map(|text| Rates::over_built_in(Path::new("mine.toml"), text).unwrap_err().to_string()).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn documented_rates_files_load() {
    let pages = [include_str!("../../../docs/planning.md"), include_str!("../../../docs/model.md")];
    let [planning, model] = pages.map(|page| {
        let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        Rates::over_built_in(Path::new("a page"), text).unwrap()
    });
    assert!(planning.knows(&region("greececentral")));
    assert_eq!(model.latency.request_ms, 14.0);
}
