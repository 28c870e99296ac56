//! Runs an inspection.

use std::any::Any;
use std::sync::Arc;
use std::thread;

use goldfleet_disk::{DiskReader, Finding, Severity};
use goldfleet_model::manifest::OsType;
use goldfleet_model::system::System;

use crate::budget::Budget;
use crate::codes::linux::{NOT_INSPECTED, OS_MISMATCH, SYSTEM};
use crate::finding::{Findings, escape};
use crate::machine::Machine;
use crate::options::{Inspection, Options, Usage};
use crate::{linux, windows};

/// The stack of an inspection's thread. The parsers limit their recursion; this leaves room.
const STACK: usize = 8 << 20;

/// Inspects a disk, within the limits of `options`.
///
/// The inspection runs on its own thread: a panic in a parser becomes the finding `not-inspected`.
#[must_use]
pub fn inspect(disk: Arc<dyn DiskReader>, options: &Options) -> Inspection {
    let budget = Arc::new(Budget::new(options.limits));
    let (thread_budget, thread_options) = (Arc::clone(&budget), options.clone());
    let work = move || run(disk, &thread_options, thread_budget);
    let result = match thread::Builder::new().name("inspect".into()).stack_size(STACK).spawn(work) {
        Ok(thread) => thread.join().map_err(|panic| format!("the inspection failed: {}", panic_message(&*panic))),
        Err(error) => Err(format!("the inspection cannot be started: {error}")),
    };
    let (system, mut findings) = result.unwrap_or_else(|reason| (None, not_inspected(&reason)));
    adjust(&mut findings, options);
    let usage = Usage {
        bytes_read: budget.bytes_read(),
        memory: budget.peak_memory(),
        milliseconds: u64::try_from(budget.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Inspection { system, findings, usage }
}

fn run(disk: Arc<dyn DiskReader>, options: &Options, budget: Arc<Budget>) -> (Option<System>, Vec<Finding>) {
    let mut findings = Findings::within(Arc::clone(&budget));
    let machine = Machine::discover(disk, options, Arc::clone(&budget), &mut findings);
    let system = windows::check(&machine, &mut findings).or_else(|| linux::check(&machine, &mut findings));
    let mut list = findings.into_list();
    let mut last = Findings::new();
    if let Some(stop) = budget.stopped() {
        // One finding states the cause. Those about the parts that were not reached add nothing to it.
        list.retain(|finding| finding.code != NOT_INSPECTED.code);
        last.add(&NOT_INSPECTED, format!("the inspection was stopped: {stop}"));
    } else if system.is_none() && !list.iter().any(|finding| finding.code == NOT_INSPECTED.code) {
        last.add(&NOT_INSPECTED, "no operating system was found on the disk");
    }
    let system = system.map(escape_system);
    if let (Some(system), Some(os)) = (&system, options.os) {
        require_os(system, os, &mut last);
    }
    if let Some(system) = &system {
        last.add(&SYSTEM, system.to_string());
    }
    list.extend(last.into_list());
    (system, list)
}

fn require_os(system: &System, stated: OsType, findings: &mut Findings) {
    if system.family != stated.as_str() {
        findings
            .add(&OS_MISMATCH, format!("the operating system is stated to be {stated}, but {} was found", system.name))
            .remedy(format!("--os {}", system.family));
    }
}

/// The system's texts come from the image and are shown later.
fn escape_system(mut system: System) -> System {
    for text in [&mut system.id, &mut system.name, &mut system.version] {
        *text = escape(text);
    }
    for text in system.kernels.iter_mut().chain(&mut system.agents) {
        *text = escape(text);
    }
    system
}

fn not_inspected(reason: &str) -> Vec<Finding> {
    let mut findings = Findings::new();
    findings.add(&NOT_INSPECTED, reason);
    findings.into_list()
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic")
}

/// Makes what was not inspected an error if an inspection is required, and accepted errors warnings.
fn adjust(findings: &mut [Finding], options: &Options) {
    for finding in findings.iter_mut() {
        if options.require && finding.code == NOT_INSPECTED.code {
            finding.severity = Severity::Error;
        }
        if finding.severity == Severity::Error && options.accept.iter().any(|code| code == finding.code) {
            finding.severity = Severity::Warning;
            finding.message.push_str(" (an error that was accepted)");
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use goldfleet_disk::{DiskError, MemoryDisk};

    use super::*;

    #[derive(Debug)]
    struct Panics;

    impl DiskReader for Panics {
        fn size(&self) -> u64 {
            1 << 20
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), DiskError> {
            panic!("a fault in a parser")
        }

        fn next_data(&self, _: u64) -> Result<Option<Range<u64>>, DiskError> {
            Ok(None)
        }
    }

    #[test]
    fn a_panic_becomes_a_finding() {
        let inspection = inspect(Arc::new(Panics), &Options::default());
        assert_eq!(inspection.system, None);
        assert_eq!(inspection.findings.len(), 1);
        assert_eq!(inspection.findings[0].code, "not-inspected");
        assert_eq!(inspection.findings[0].message, "the inspection failed: a fault in a parser");
    }

    #[test]
    fn a_system_must_be_the_stated_one() {
        let system = System { family: "linux".into(), name: "Debian".into(), ..System::default() };
        let found = |os| {
            let mut findings = Findings::new();
            require_os(&system, os, &mut findings);
            findings.into_list()
        };
        assert_eq!(found(OsType::Linux), []);
        let [finding] = found(OsType::Windows).try_into().unwrap();
        assert_eq!((finding.code, finding.severity), ("os-mismatch", Severity::Error));
        assert_eq!(finding.remedy, "--os linux");
    }

    #[test]
    fn an_empty_disk_has_no_system() {
        let disk = || Arc::new(MemoryDisk(vec![0; 1 << 20]));
        let inspection = inspect(disk(), &Options::default());
        assert_eq!(inspection.findings.len(), 1);
        assert_eq!(inspection.findings[0].severity, Severity::Warning);
        let required = Options { require: true, ..Options::default() };
        assert_eq!(inspect(disk(), &required).findings[0].severity, Severity::Error);
        let accepted = Options { accept: vec!["not-inspected".into()], ..required };
        let finding = &inspect(disk(), &accepted).findings[0];
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.message.ends_with("(an error that was accepted)"), "{}", finding.message);
    }
}
