//! Random cases, and the properties of each.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::live::LiveSetError;
use goldfleet_model::job::JobState;
use goldfleet_model::manifest::{CHUNKS, MANIFESTS};
use proptest::prelude::*;

use super::case::{Asked, Case, FOREIGN, Meanwhile, Version, Written, case};
use super::interference::Fault;
use super::scene::{Ended, manifest_of, name_of, run};

fn check(case: &Case) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ended = runtime.block_on(run(case));
    let deleted: BTreeMap<usize, BTreeSet<&String>> =
        ended.before.iter().map(|(n, names)| (*n, names.difference(&ended.after[n]).collect())).collect();
    let any = deleted.values().any(|names| !names.is_empty());

    prop_assert!(!case.dry_run || !any, "a dry run deletes nothing: {deleted:?}");
    if let Err(error) = &ended.result {
        prop_assert!(!any, "what stops deletes nothing: {error}: {deleted:?}");
    }
    // A failing store that is neither configured nor the source in a tree may contain manifests of another
    // configuration.
    let live = case.live(ended.hit);
    for (n, names) in &deleted {
        for name in names {
            if name.starts_with(MANIFESTS) {
                let is_of = |(at, version): (usize, &Version)| manifest_of(at, &version.chunks).0 == **name;
                let mut of = case.versions.iter().enumerate().filter(|(at, version)| is_of((*at, version)));
                let is_deleted = of.all(|(_, version)| version.manifest == Written::GivenUp);
                prop_assert!(is_deleted, "{name} in store {n} is the manifest of a version");
                continue;
            }
            prop_assert!(name.starts_with(CHUNKS) && !FOREIGN.contains(&name.as_str()), "{name} is no chunk");
            prop_assert!(!live.contains(*name), "{name} in store {n} is in use");
            let is_old = case.held[*n].iter().any(|(chunk, old)| *old && name_of(*chunk) == **name);
            prop_assert!(is_old, "{name} in store {n} is young");
            prop_assert!(case.may_know(*n), "store {n} is not known");
        }
    }
    let (now_in_use, at) = match &case.meanwhile {
        Meanwhile::Nothing => (Vec::new(), Vec::new()),
        Meanwhile::Upload { store, chunks, .. } | Meanwhile::LongUpload { store, chunks, .. } => {
            (chunks.clone(), vec![*store])
        }
        Meanwhile::Job { source, store, chunks, .. } => (chunks.clone(), vec![*source, *store]),
    };
    for n in at {
        for chunk in &now_in_use {
            prop_assert!(
                ended.after[&n].contains(&name_of(*chunk)),
                "what was relied on meanwhile is gone in store {n}"
            );
        }
    }

    let holds_chunks = case.known().into_iter().any(|n| !case.held[n].is_empty());
    let is_damaged = |version: &Version| version.manifest == Written::Damaged && case.known().contains(&version.store);
    let damaged = case.versions.iter().any(is_damaged);
    if !ended.hit && (case.has_empty_source() && holds_chunks || damaged) {
        prop_assert!(ended.result.is_err(), "which chunks are in use is not known");
    }
    complete(case, &ended)
}

/// Without faults and other activity, all garbage is deleted.
fn complete(case: &Case, ended: &Ended) -> Result<(), TestCaseError> {
    if ended.hit || case.dry_run || ended.result.is_err() || !matches!(case.meanwhile, Meanwhile::Nothing) {
        return Ok(());
    }
    let live = case.live(false);
    for n in case.known() {
        let young: BTreeSet<String> =
            case.held[n].iter().filter(|(_, old)| !old).map(|(chunk, _)| name_of(*chunk)).collect();
        let old = case.held[n].iter().filter(|(_, old)| *old).map(|(chunk, _)| name_of(*chunk));
        for name in old.filter(|name| !live.contains(name) && !young.contains(name)) {
            prop_assert!(!ended.after[&n].contains(&name), "{name} in store {n} is garbage");
        }
        for (at, version) in case.versions.iter().enumerate().filter(|(_, version)| version.store == n) {
            let (name, _) = manifest_of(at, &version.chunks);
            let is_kept = ended.after[&n].contains(&name);
            prop_assert_eq!(is_kept, version.manifest != Written::GivenUp, "{} in store {}", name, n);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_chunk_that_is_in_use_is_deleted(case in case()) {
        check(&case)?;
    }
}

/// The operator says that the versions of a store were deleted, the store has one, and its list ends early.
#[test]
fn incomplete_list_is_not_a_missing_store() {
    let whole = |store, chunk| Version { store, chunks: vec![chunk], manifest: Written::Whole };
    let case = Case {
        configured: 0,
        in_targets: vec![2],
        versions: vec![whole(3, 5), whole(0, 0)],
        jobs: vec![Asked { version: 0, state: JobState::Running, tree: Some(vec![1]) }],
        held: vec![vec![], vec![], vec![(5, true)], vec![], vec![]],
        given_up: vec![3],
        fault: None,
        meanwhile: Meanwhile::Nothing,
        dry_run: false,
    };
    for call in 0..24 {
        for fault in [Fault::Fails, Fault::CutOff, Fault::Late] {
            let case = Case { fault: Some((call, fault)), ..case.clone() };
            check(&case).unwrap_or_else(|failure| panic!("{case:?}: {failure}"));
        }
    }
}

/// The random cases include all important situations. Otherwise they would prove nothing.
#[test]
fn random_cases_reach_what_matters() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config as Runner, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Runner::default(), rng);
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..400 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ended = runtime.block_on(run(&case));
        let what = match &ended.result {
            Ok(done) if done.deleted > 0 && !matches!(case.meanwhile, Meanwhile::Nothing) => {
                "deleted, and more happened"
            }
            Ok(done) if done.deleted > 0 => "deleted",
            Ok(_) => "nothing to delete",
            Err(ControlError::LiveSet(error)) => match error {
                LiveSetError::Missing(_) => "missing",
                LiveSetError::Empty { .. } => "empty",
                LiveSetError::Unlisted { .. } => "unlisted",
                LiveSetError::Unreadable { .. } => "unreadable",
                LiveSetError::Earlier(_) => "earlier",
                LiveSetError::UnknownVersion { .. } => "unknown version",
            },
            Err(_) => "table",
        };
        *reached.entry(what).or_default() += 1;
    }
    for what in [
        "deleted",
        "deleted, and more happened",
        "nothing to delete",
        "empty",
        "unlisted",
        "unreadable",
        "unknown version",
    ] {
        assert!(reached.get(what).is_some_and(|times| *times > 2), "{what}: {reached:?}");
    }
}
