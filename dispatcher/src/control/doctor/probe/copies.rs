//! The measurements of copies to other places.

use goldfleet_machines::request::Place;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::error::{PortError, PortResult};

use super::questions::{Answer, COPY_ACROSS_SUBSCRIPTIONS, COPY_START_ACROSS_SUBSCRIPTIONS, COPY_START_IN_REGION};
use super::steps::{Prober, unmeasured, verdict};

/// The code with which the service refuses a source: it is in another tenant, or the identity lacks a right on it.
/// Source: seen, MicrosoftDocs/azure-docs#48443.
const SOURCE_REFUSED: &str = "linked-authorization-failed";

impl Prober<'_> {
    /// Copies to the second place, and to the third.
    pub(super) async fn copies(&mut self, snapshot: &ResourceId, second: &Place) {
        let is_near = self.request.first.region == second.region;
        let option = if is_near { "Copy" } else { "CopyStart" };
        let begun = self.begin_snapshot(second, "copied", option, snapshot, None).await;
        if matches!(&begun, Err(error) if error.code == SOURCE_REFUSED) && self.is_other_tenant(second).await {
            return self.across_tenants(snapshot, second, option).await;
        }
        if is_near {
            self.in_region(begun, snapshot, second).await;
        } else {
            self.between_regions(begun, snapshot, second).await;
        }
    }

    /// Whether the subscriptions of both places are in two tenants. False if that cannot be read.
    async fn is_other_tenant(&self, second: &Place) -> bool {
        let Some(inspector) = self.inspector else { return false };
        let [first, second] = [&self.request.first, second].map(|place| place.subscription);
        let (first, second) =
            futures::join!(inspector.subscription_tenant(&first, None), inspector.subscription_tenant(&second, None));
        match (first, second) {
            (Ok(Some(first)), Ok(Some(second))) => !first.eq_ignore_ascii_case(&second),
            (Err(error), _) | (_, Err(error)) => {
                self.say(&format!("the tenants of the subscriptions cannot be read: {error}"));
                false
            }
            _ => false,
        }
    }

    async fn in_region(&mut self, copied: PortResult<ResourceId>, snapshot: &ResourceId, second: &Place) {
        if self.request.first.subscription != second.subscription {
            let made = self.when_arrived(copied).await;
            self.record(COPY_ACROSS_SUBSCRIPTIONS, verdict(made.map(|id| id.to_string())));
            let made = self.image(second, "image-across", snapshot).await;
            self.record("image-across-subscriptions", verdict(made.map(|id| id.to_string())));
        }
        let made = self.snapshot(second, "started", "CopyStart", snapshot, None).await;
        self.record(COPY_START_IN_REGION, verdict(made.map(|id| id.to_string())));
    }

    async fn between_regions(&mut self, begun: PortResult<ResourceId>, snapshot: &ResourceId, second: &Place) {
        let first = &self.request.first;
        let other_subscription = first.subscription != second.subscription;
        self.say(&format!("copying the snapshot to {second}; the service takes some minutes"));
        let copy = match begun {
            Ok(copy) => copy,
            Err(error) => {
                let (id, answer) = match other_subscription {
                    true => (COPY_START_ACROSS_SUBSCRIPTIONS, verdict(Err(error))),
                    false => ("copy-start-from-copy", unmeasured(&error)),
                };
                return self.record(id, answer);
            }
        };
        let twice = self.begin_snapshot(second, "remote-again", "CopyStart", snapshot, None).await;
        let elsewhere = match &self.request.third {
            Some(third) if third.region != first.region && third.region != second.region => {
                Some(self.begin_snapshot(third, "elsewhere", "CopyStart", snapshot, None).await)
            }
            _ => None,
        };
        let arrived = self.temporaries.arrived(&copy).await;
        if other_subscription {
            let across = match &arrived {
                Ok(()) => (Answer::Yes, copy.to_string()),
                Err(error) => unmeasured(error),
            };
            self.record(COPY_START_ACROSS_SUBSCRIPTIONS, across);
        }
        let both = |arrived: PortResult<ResourceId>| arrived.map(|_| "both were accepted and arrived".to_owned());
        let at_once = self.when_arrived(twice).await;
        self.record("copy-start-at-once", verdict(both(at_once)));
        if let Some(elsewhere) = elsewhere {
            let two = self.when_arrived(elsewhere).await;
            self.record("copy-start-two-regions", verdict(both(two)));
        }
        if arrived.is_ok() {
            let back = self.snapshot(first, "copy-of-copy", "CopyStart", &copy, None).await;
            self.record("copy-start-from-copy", verdict(back.map(|id| id.to_string())));
        }
    }

    /// A copy after its content has arrived.
    async fn when_arrived(&self, begun: PortResult<ResourceId>) -> PortResult<ResourceId> {
        let id = begun?;
        self.temporaries.arrived(&id).await?;
        Ok(id)
    }

    /// The service refused the source because it is in another tenant. Send the same request with a token of that
    /// tenant too.
    async fn across_tenants(&mut self, snapshot: &ResourceId, second: &Place, option: &str) {
        let id = "auxiliary-tokens";
        let Some(linked) = self.linked else {
            return self.record(id, (Answer::Unmeasured, "requests with two tokens cannot be made here".to_owned()));
        };
        self.say(&format!("{second} is in another tenant: copying with an auxiliary token"));
        let made = match self.snapshot_request(second, "linked", option, snapshot, None) {
            Ok((copy, body)) => self.temporaries.create_linked(linked, &copy, body).await.map(|_| copy),
            Err(error) => Err(error),
        };
        let made = self.when_arrived(made).await;
        let answer = match made {
            // The request without the token was refused in the same way.
            Err(error) if error.code == SOURCE_REFUSED => (Answer::No, refused_with_token(&error)),
            made => verdict(made.map(|id| id.to_string())),
        };
        self.record(id, answer);
    }
}

fn refused_with_token(error: &PortError) -> String {
    format!("refused with the token too; the identity needs rights in both tenants: {error}")
}
