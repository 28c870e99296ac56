//! Checks of a target: subscription, resource group, region, staging account, permissions.

use goldfleet_config::UploadRoute;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::resource::ResourceType;
use goldfleet_model::store::Container;
use goldfleet_model::target::Target;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::inspector::{AccountFacts, Inspector, Lock};

use super::access::{BLOBS, ENCRYPTION, IMAGES, SOURCES, missing};
use super::finding::subject_of;
use super::services::{access_error, container_exists};
use super::{Accounts, Finding, account, hub};
use crate::control::context::ControlContext;

/// Checks a target. A target without problems gives a single finding.
pub(super) async fn examine(
    control: &ControlContext,
    inspector: &dyn Inspector,
    (target, file): (&Target, &TargetsFile),
    accounts: &Accounts,
) -> Vec<Finding> {
    let examined = Examined { control, inspector, target, subject: subject_of(target) };
    let mut findings = match examined.subscription().await {
        Ok(findings) => findings,
        Err(error) => vec![access_error(examined.subject.clone(), &error, "Reader on the subscription")],
    };
    if findings.is_empty() {
        // The route `region` uses no staging account.
        let staging = async {
            match control.config.plan.route {
                UploadRoute::Staging => examined.staging(accounts).await,
                UploadRoute::Region => Vec::new(),
            }
        };
        let (group, staging) = futures::future::join(examined.group(), staging).await;
        findings.extend(group);
        if findings.is_empty() {
            findings.extend(hub::examine_target(inspector, file, target).await);
        }
        findings.extend(staging);
    }
    if findings.is_empty() {
        findings.push(Finding::ok(examined.subject, "ready"));
    }
    findings
}

struct Examined<'a> {
    control: &'a ControlContext,
    inspector: &'a dyn Inspector,
    target: &'a Target,
    subject: String,
}

impl Examined<'_> {
    fn tenant(&self) -> Option<&str> {
        self.target.tenant.as_deref()
    }

    fn bad(&self, code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::error(&self.subject, code, message, remedy)
    }

    /// Why the subscription cannot have images in the region.
    async fn subscription(&self) -> PortResult<Vec<Finding>> {
        let subscription = &self.target.subscription;
        let mut findings = Vec::new();
        match self.inspector.subscription(subscription, self.tenant()).await? {
            None => {
                let message = format!("subscription {subscription} does not exist, or the identity cannot see it");
                let remedy = "correct the targets file, or give the identity Reader on the subscription";
                return Ok(vec![self.bad("subscription-not-found", message, remedy)]);
            }
            Some(state) if !matches!(state.as_str(), "Enabled" | "Warned" | "PastDue") => {
                let message = format!("the subscription is {state}, so nothing in it can be changed");
                findings.push(self.bad("subscription-disabled", message, "have it enabled, or disable the target"));
            }
            Some(_) => {}
        }
        match self.inspector.regions_of(ResourceType::Image, subscription, self.tenant()).await? {
            None => {
                let remedy = "run 'goldfleet setup --register', which needs Microsoft.Compute/register/action on the \
                              subscription";
                let message = "the subscription is not registered for Microsoft.Compute";
                findings.push(self.bad("provider-not-registered", message, remedy));
            }
            Some(regions) if !regions.contains(&self.target.region) => {
                let message = format!("managed images cannot be made in {} by this subscription", self.target.region);
                findings.push(self.bad(
                    "region-not-available",
                    message,
                    "correct the region, or request access to it from Azure support",
                ));
            }
            Some(_) => {}
        }
        Ok(findings)
    }

    async fn group(&self) -> Vec<Finding> {
        match self.try_group().await {
            Ok(findings) => findings,
            Err(error) => vec![access_error(self.subject.clone(), &error, "Reader on the resource group")],
        }
    }

    async fn try_group(&self) -> PortResult<Vec<Finding>> {
        let (subscription, group) = (&self.target.subscription, &self.target.resource_group);
        if !self.inspector.has_group(subscription, group, self.tenant()).await? {
            let message = format!("there is no resource group {group}");
            let remedy = format!(
                "az group create --name {group} --location {} --subscription {subscription}",
                self.target.region
            );
            return Ok(vec![self.bad("resource-group-not-found", message, remedy)]);
        }
        let scope = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        let mut findings = Vec::new();
        let lacking = missing(&self.inspector.permissions(&scope, self.tenant()).await?, &IMAGES);
        if !lacking.is_empty() {
            let message = format!("the identity may not {} in resource group {group}", lacking.join(", "));
            findings.push(self.bad(
                "authorization-failed",
                message,
                "give it the custom role of infra/bicep on the group",
            ));
        }
        if let Some(set) = &self.target.disk_encryption_set
            && !missing(&self.inspector.permissions(set, self.tenant()).await?, &ENCRYPTION).is_empty()
        {
            let message = format!("the identity may not read the disk encryption set {set}");
            findings.push(self.bad("authorization-failed", message, "give it Reader on the disk encryption set"));
        }
        findings.extend(self.locks(&self.inspector.locks(subscription, group, self.tenant()).await?));
        Ok(findings)
    }

    fn locks(&self, locks: &[Lock]) -> Option<Finding> {
        let names = |locks: &[&Lock]| locks.iter().map(|lock| lock.name.as_str()).collect::<Vec<_>>().join(", ");
        let group = &self.target.resource_group;
        let read_only: Vec<&Lock> = locks.iter().filter(|lock| lock.read_only).collect();
        if !read_only.is_empty() {
            let message =
                format!("locks on resource group {group} ({}) prevent the creation of images", names(&read_only));
            return Some(self.bad("scope-locked", message, "remove the locks"));
        }
        let all: Vec<&Lock> = locks.iter().collect();
        let message = format!("locks on resource group {group} ({}) prevent the replacement of images", names(&all));
        let remedy = "remove the locks, or give changed content a new version";
        (!all.is_empty()).then(|| Finding::warning(&self.subject, "scope-locked", message, remedy))
    }

    async fn staging(&self, accounts: &Accounts) -> Vec<Finding> {
        let account = &self.target.account;
        let facts = match accounts.get(&self.target.subscription) {
            Some(Err(error)) => {
                return vec![access_error(self.subject.clone(), error, "Reader on the subscription")];
            }
            Some(Ok(facts)) => facts.iter().find(|facts| facts.name == *account),
            None => None,
        };
        let Some(facts) = facts else {
            let message = format!("its subscription has no storage account {account} (or none to be seen)");
            let remedy = "correct the account, make it with infra/bicep, or give the identity Reader on it";
            return vec![self.bad("account-not-found", message, remedy)];
        };
        let mut findings = self.account(facts);
        match self.access(facts).await {
            Ok(more) => findings.extend(more),
            Err(error) => {
                let role = format!("Storage Blob Data Contributor on account {account}");
                findings.push(access_error(self.subject.clone(), &error, &role));
            }
        }
        findings
    }

    fn account(&self, facts: &AccountFacts) -> Vec<Finding> {
        let mut findings = Vec::new();
        if facts.region != self.target.region {
            let message =
                format!("account {} is in {}, and images need their VHD in their own region", facts.name, facts.region);
            findings.push(self.bad("vhd-in-other-region", message, "name an account of the target's region"));
        }
        findings.extend(account::check_for_vhds(&self.subject, facts));
        findings.extend(account::check_for_copies(&self.subject, facts, self.tenant().is_some()));
        if facts.shared_key {
            let message = format!("account {} accepts account keys, which goldfleet does not use", facts.name);
            let remedy = format!("az storage account update --name {} --allow-shared-key-access false", facts.name);
            findings.push(Finding::warning(&self.subject, "shared-key", message, remedy));
        }
        if facts.public_blobs {
            let message = format!("containers of account {} can be made public", facts.name);
            let remedy = format!("az storage account update --name {} --allow-blob-public-access false", facts.name);
            findings.push(Finding::warning(&self.subject, "public-blobs", message, remedy));
        }
        findings
    }

    async fn access(&self, facts: &AccountFacts) -> PortResult<Vec<Finding>> {
        let container = self.target.staging();
        let there = container_exists(&self.control.ports, &container).await;
        let mut findings = self.rights(facts, &container, !matches!(there, Ok(false))).await?;
        match there {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("container {container} does not exist yet; a worker creates it");
                findings.push(Finding::warning(&self.subject, "container-not-found", message, "run 'goldfleet setup'"));
            }
            Err(error) if error.kind == ErrorKind::Denied && facts.is_closed() => {
                let message = format!("account {} does not let this machine in: {error}", facts.name);
                let remedy = "run the doctor and the workers in a network that the account's firewall allows";
                findings.push(self.bad("account-firewall", message, remedy));
            }
            Err(error) => return Err(error),
        }
        Ok(findings)
    }

    /// The permissions of the identity. A role that is assigned on the container only is not visible at the account.
    async fn rights(&self, facts: &AccountFacts, container: &Container, there: bool) -> PortResult<Vec<Finding>> {
        let account = self.inspector.permissions(&facts.id, self.tenant()).await?;
        let on_container = if there {
            let scope = format!("{}/blobServices/default/containers/{}", facts.id, container.container);
            self.inspector.permissions(&scope, self.tenant()).await?
        } else {
            account.clone()
        };
        let mut findings = Vec::new();
        let lacking = missing(&on_container, &BLOBS);
        if !lacking.is_empty() {
            let message = format!("the identity may not {} in container {container}", lacking.join(", "));
            let remedy = "give it the role Storage Blob Data Contributor on the container or its account; a new role is \
                          effective after some minutes";
            findings.push(self.bad("authorization-failed", message, remedy));
        }
        let lacking = missing(&account, &SOURCES);
        if !lacking.is_empty() {
            let message = format!(
                "the identity may not {} on account {}; Azure may require this right to create images from its blobs",
                lacking.join(", "),
                facts.name
            );
            let remedy = "give it the custom role for VHDs of infra/bicep on the account";
            findings.push(Finding::warning(&self.subject, "account-rights", message, remedy));
        }
        Ok(findings)
    }
}
