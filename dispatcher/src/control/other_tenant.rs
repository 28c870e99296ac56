//! Copies of the platform between tenants, which are refused before the first call.

use goldfleet_config::Config;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::job::Finding;

/// The refusal of a place whose subscription is in another tenant than the source. `remedy` is what to do.
pub(crate) fn refusal(
    config: &Config,
    (source, to): (SubscriptionId, SubscriptionId),
    place: impl ToString,
    remedy: &str,
) -> Option<Finding> {
    if !config.tenants.differ(&source, &to) {
        return None;
    }
    let name = |subscription| {
        config.tenants.of(&subscription).map_or_else(|| "that of the credential".to_owned(), ToString::to_string)
    };
    let message = format!(
        "its tenant is {}, that of the source is {}, and the platform copies nothing between tenants: {remedy}",
        name(to),
        name(source)
    );
    Some(Finding::failure("other-tenant", place, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_tenant_is_refused() {
        let text = "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\n\
                    account = \"gold\"\ncontainer = \"golden\"\n\
                    [tenants]\n\"00000000-0000-0000-0000-000000000002\" = \"contoso.com\"\n";
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("goldfleet.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file), std::iter::empty()).unwrap();
        let id = SubscriptionId::nth_for_tests;
        let refused = |from, to| refusal(&config, (id(from), id(to)), "there", "upload it");
        assert_eq!((refused(1, 3), refused(2, 2)), (None, None));
        let finding = refused(1, 2).unwrap();
        assert!(finding.failed && finding.message.contains("contoso.com") && finding.message.ends_with("upload it"));
        assert!(refused(2, 1).unwrap().message.contains("that of the credential"));
    }
}
