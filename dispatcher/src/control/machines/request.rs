//! Requests for clones.

use goldfleet_machines::request::CloneRequest;
use goldfleet_model::document::Document;
use goldfleet_model::job::Work;

use super::{ROUTE, VERSION};
use crate::control::context::ControlError;
use crate::control::job_store::JobStore;
use crate::control::request::{RequestResult, request_work};

/// The work of a clone.
///
/// # Errors
/// [`ControlError::Refused`] if the specification cannot be written.
pub fn work(request: &CloneRequest) -> Result<Work, ControlError> {
    let CloneRequest { source, to, .. } = request;
    let what = if request.disks_only { "the disks of machine" } else { "machine" };
    let verb = if request.as_image { "image" } else { "clone" };
    let place = format!("{}/{}", source.subscription, source.resource_group);
    let title = format!("{verb} of {what} {} of {place} to {to} as {}", source.name, request.clone_name());
    let spec = Document::new(VERSION, request).map_err(|error| ControlError::Refused(error.to_string()))?;
    Ok(Work { route: ROUTE.to_owned(), title, resume: command(request), spec })
}

/// Requests a clone. If an open job already does it, no new one is created.
///
/// # Errors
/// As [`request_work`].
pub async fn request(
    jobs: &JobStore,
    clone: &CloneRequest,
    note: Option<String>,
) -> Result<RequestResult, ControlError> {
    request_work(jobs, work(clone)?, note, |_, _| true).await
}

/// The command that requests the same clone.
#[must_use]
pub fn command(request: &CloneRequest) -> String {
    let mut words = vec![format!("goldfleet vm clone '{}' --to {}", request.source, request.to)];
    let options = [
        ("--subnet", &request.subnet),
        ("--name", &request.name),
        ("--disk-name", &request.disk_name),
        ("--zone", &request.zone),
        ("--availability-set", &request.availability_set),
        ("--size", &request.size),
        ("--disk-sku", &request.disk_sku),
        ("--des", &request.disk_encryption_set),
    ];
    let given = options.into_iter().filter_map(|(option, value)| Some((option, value.as_ref()?)));
    words.extend(given.map(|(option, value)| format!("{option} '{}'", value.replace('\'', r"'\''"))));
    words.extend(request.max_downtime.filter(|_| request.stop).map(|seconds| format!("--max-downtime {seconds}s")));
    let flags = [
        ("--stop", request.stop),
        ("--live", request.live),
        ("--disks-only", request.disks_only),
        ("--as-image", request.as_image),
        ("--yes", true),
    ];
    words.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag.to_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone_request() -> CloneRequest {
        CloneRequest {
            source: "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/prod/providers/\
                     Microsoft.Compute/virtualMachines/web"
                .parse()
                .unwrap(),
            to: "00000000-0000-0000-0000-000000000002/eastus/clones".parse().unwrap(),
            subnet: None,
            name: Some("web2".to_owned()),
            disk_name: None,
            zone: None,
            availability_set: None,
            size: None,
            disk_sku: None,
            disk_encryption_set: None,
            stop: true,
            live: false,
            max_downtime: Some(900),
            disks_only: true,
            as_image: false,
        }
    }

    #[test]
    fn resume_command_repeats_all_options() {
        let work = work(&clone_request()).unwrap();
        assert!(work.resume.ends_with(
            "/web' --to 00000000-0000-0000-0000-000000000002/eastus/clones --name 'web2' --max-downtime 900s --stop \
             --disks-only --yes"
        ));
        assert!(work.title.ends_with("clones as web2"), "{}", work.title);
        assert_eq!(super::super::request_of(&work).unwrap(), clone_request());
    }
}
