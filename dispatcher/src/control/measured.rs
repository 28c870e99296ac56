//! Deliveries by snapshots that need what a probe measured with `no`. They are refused before the first request.
//! Without a result, the service accepts or refuses the request.

use goldfleet_hubs::plan::{HubPlace, PlannedTarget};
use goldfleet_machines::request::Place;
use goldfleet_model::ids::Region;
use goldfleet_model::job::Finding;
use goldfleet_model::sink::Sink;
use goldfleet_snapshots::id::GroupRef;

use crate::control::doctor::probe::known::{Found, Known};
use crate::control::doctor::probe::questions::{
    COPY_START_ACROSS_SUBSCRIPTIONS, ENCRYPTION_SET_AT_COPY, IMAGE_OUTLIVES_SNAPSHOT,
};

/// The reasons for which these targets cannot receive copies of snapshots.
pub(crate) fn refusals_of_targets<'a>(
    known: &Known,
    targets: impl IntoIterator<Item = &'a PlannedTarget>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for target in targets.into_iter().map(|planned| &planned.target) {
        let no = |question| known.in_region(question, &target.region).filter(|found| !found.yes);
        // The snapshot of which an image is created is temporary.
        if target.sinks.has(Sink::Image)
            && let Some(answer) = no(IMAGE_OUTLIVES_SNAPSHOT)
        {
            let what =
                "an image is not usable after its snapshot is deleted: upload the version, and use --route staging";
            found.push(refused(target.key(), answer, what));
        }
        if target.disk_encryption_set.is_some()
            && let Some(answer) = no(ENCRYPTION_SET_AT_COPY)
        {
            found.push(refused(target.key(), answer, "a copy cannot get a disk encryption set"));
        }
    }
    found
}

/// The reason for which a snapshot cannot be copied to the hub of another region.
pub(crate) fn refusal_of_hub(known: &Known, from: (&GroupRef, &Region), to: (&HubPlace, &Region)) -> Option<Finding> {
    let (hub, region) = to;
    if hub.group.subscription == from.0.subscription {
        return None;
    }
    let places = [&place(from.0, from.1), &place(&hub.group, region)];
    let answer = known.between(COPY_START_ACROSS_SUBSCRIPTIONS, places).filter(|found| !found.yes)?;
    let what = "CopyStart does not copy to this subscription and region: use a hub in the subscription of the source";
    Some(refused(format!("hub of {region}"), answer, what))
}

fn place(group: &GroupRef, region: &Region) -> Place {
    let GroupRef { subscription, resource_group } = group.clone();
    Place { subscription, region: region.clone(), resource_group }
}

fn refused(place: impl ToString, found: Found, what: &str) -> Finding {
    let message = format!("'goldfleet doctor --probe' found on {} that {what}", found.at.strftime("%Y-%m-%d"));
    Finding::failure("not-supported-here", place, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::probe::questions::{Answer, Measurement};
    use crate::control::doctor::probe::record::ProbeResult;

    fn group(subscription: u32, name: &str) -> GroupRef {
        GroupRef {
            subscription: format!("00000000-0000-0000-0000-00000000000{subscription}").parse().unwrap(),
            resource_group: name.parse().unwrap(),
        }
    }

    /// Only a copy to another subscription depends on the answer, and it is refused only after "no".
    #[test]
    fn a_hub_that_copies_do_not_reach_is_refused() {
        let (west, east) = ("westeurope".parse().unwrap(), "eastus".parse().unwrap());
        let known = |answer| {
            let place = |group: &GroupRef, region: &Region| place(group, region).to_string();
            let result = ProbeResult {
                places: vec![place(&group(1, "a"), &west), place(&group(2, "b"), &east)],
                at: "2026-11-29T00:00:00Z".parse().unwrap(),
                measurements: vec![Measurement {
                    id: COPY_START_ACROSS_SUBSCRIPTIONS.to_owned(),
                    answer,
                    detail: String::new(),
                }],
            };
            Known::new(vec![result], "2026-11-30T00:00:00Z".parse().unwrap())
        };
        let refusal = |answer, subscription| {
            let hub = HubPlace { group: group(subscription, "hub"), encryption_set: None };
            refusal_of_hub(&known(answer), (&group(1, "build"), &west), (&hub, &east))
        };
        let refused = refusal(Answer::No, 2).unwrap();
        assert_eq!((refused.code.as_str(), refused.place.as_deref()), ("not-supported-here", Some("hub of eastus")));
        assert!(
            refused.message.starts_with("'goldfleet doctor --probe' found on 2026-11-29 that CopyStart"),
            "{refused:?}"
        );
        for (answer, subscription) in [(Answer::Yes, 2), (Answer::Unmeasured, 2), (Answer::No, 1), (Answer::No, 3)] {
            assert_eq!(refusal(answer, subscription), None, "{answer:?} {subscription}");
        }
    }
}
