//! Names of regions, for generated fleets and for the detection of misspelt names.

use goldfleet_model::ids::Region;

/// Regions, the source's region first. The names are real, so that plans are realistic.
pub(crate) const REGIONS: [&str; 60] = [
    "westeurope",
    "eastus",
    "japaneast",
    "brazilsouth",
    "northeurope",
    "westus3",
    "southeastasia",
    "australiaeast",
    "uksouth",
    "centralus",
    "koreacentral",
    "southafricanorth",
    "francecentral",
    "eastus2",
    "centralindia",
    "uaenorth",
    "germanywestcentral",
    "canadacentral",
    "swedencentral",
    "westus2",
    "norwayeast",
    "southcentralus",
    "switzerlandnorth",
    "northcentralus",
    "italynorth",
    "westus",
    "polandcentral",
    "canadaeast",
    "spaincentral",
    "mexicocentral",
    "eastasia",
    "japanwest",
    "koreasouth",
    "southindia",
    "westindia",
    "jioindiawest",
    "australiasoutheast",
    "australiacentral",
    "newzealandnorth",
    "indonesiacentral",
    "malaysiawest",
    "taiwannorth",
    "israelcentral",
    "qatarcentral",
    "uaecentral",
    "southafricawest",
    "ukwest",
    "francesouth",
    "germanynorth",
    "norwaywest",
    "switzerlandwest",
    "swedensouth",
    "austriaeast",
    "belgiumcentral",
    "denmarkeast",
    "westcentralus",
    "chilecentral",
    "brazilsoutheast",
    "brazilus",
    "saudiarabiaeast",
];

/// The known region that was most likely meant by an unknown name. None if the name is known, or if it is similar to no
/// known name: it may be a new region.
pub(crate) fn similar_region(region: &Region) -> Option<&'static str> {
    let name = region.as_str();
    if REGIONS.contains(&name) {
        return None;
    }
    // Two letters: known names that differ by less than that end in a number.
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    let closest = REGIONS.into_iter().min_by_key(distance)?;
    let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    // 'westus4' is more likely a new region than a misspelt one.
    let is_numbered = stem(name) == stem(closest);
    (!is_numbered && distance(&closest) <= 2).then_some(closest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_region_is_recognised_and_a_new_one_is_not() {
        let similar = |name: &str| similar_region(&name.parse().unwrap());
        assert_eq!(similar("westeurop"), Some("westeurope"));
        assert_eq!(similar("esatus"), Some("eastus"));
        for fine in ["westeurope", "westus4", "newzealandnorth", "region7"] {
            assert_eq!(similar(fine), None, "{fine}");
        }
    }
}
