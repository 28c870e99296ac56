//! A random case: a small model of what is in use.
//!
//! Sources are the configured store and those of jobs' trees; a manifest in any store keeps its chunks.

use std::collections::BTreeSet;

use goldfleet_model::job::JobState;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::interference::Fault;
use super::scene::name_of;

/// How many stores and chunks there are.
pub(crate) const STORES: usize = 5;
const CHUNKS_THERE_ARE: usize = 10;

/// Names under `chunks/` that are not those of chunks, and names elsewhere.
pub(crate) const FOREIGN: [&str; 6] = [
    "README.txt",
    "chunks/README.txt",
    "chunks/older/0000000000000000000000000000000000000000000000000000000000000000",
    "chunks/0000000000000000000000000000000000000000000000000000000000000000.bak",
    "chunks/000000000000000000000000000000000000000000000000000000000000000",
    "chunks/ABCDEF0000000000000000000000000000000000000000000000000000000000",
];

/// What became of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Whole,
    Damaged,
    /// The version was given up.
    GivenUp,
}

/// An image version in a source store.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) store: usize,
    pub(crate) chunks: Vec<usize>,
    /// What became of its manifest.
    pub(crate) manifest: Written,
}

/// A job of one of the versions.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) version: usize,
    pub(crate) state: JobState,
    /// The stores of its tree besides the source; none where it is not planned.
    pub(crate) tree: Option<Vec<usize>>,
}

/// What else happens while chunks are collected: each before a call of the collection.
#[derive(Debug, Clone)]
pub(crate) enum Meanwhile {
    Nothing,
    /// An upload begins, relies on what is there, and ends.
    Upload {
        store: usize,
        chunks: Vec<usize>,
        at: Vec<usize>,
    },
    /// An upload that began long ago relies, without renewing them, on chunks that were young enough then; it ends.
    LongUpload {
        store: usize,
        chunks: Vec<usize>,
        at: Vec<usize>,
    },
    /// A job is planned whose source only its tree names, and its seed fills a store.
    Job {
        source: usize,
        store: usize,
        chunks: Vec<usize>,
        at: Vec<usize>,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) configured: usize,
    pub(crate) in_targets: Vec<usize>,
    pub(crate) versions: Vec<Version>,
    pub(crate) jobs: Vec<Asked>,
    /// For each store: the chunks in it, and which of them are old.
    pub(crate) held: Vec<Vec<(usize, bool)>>,
    pub(crate) given_up: Vec<usize>,
    pub(crate) fault: Option<(usize, Fault)>,
    pub(crate) meanwhile: Meanwhile,
    pub(crate) dry_run: bool,
}

fn some_chunks() -> impl Strategy<Value = Vec<usize>> {
    subsequence((0..CHUNKS_THERE_ARE).collect::<Vec<_>>(), 1..=4)
}

fn some_stores(most: usize) -> impl Strategy<Value = Vec<usize>> {
    subsequence((0..STORES).collect::<Vec<_>>(), 0..=most)
}

fn version() -> impl Strategy<Value = Version> {
    let manifest = prop_oneof![20 => Just(Written::Whole), 1 => Just(Written::Damaged), 4 => Just(Written::GivenUp)];
    (0..STORES, some_chunks(), manifest).prop_map(|(store, chunks, manifest)| Version { store, chunks, manifest })
}

fn asked() -> impl Strategy<Value = Asked> {
    let states =
        vec![JobState::Requested, JobState::Running, JobState::Succeeded, JobState::Failed, JobState::Cancelled];
    (0..4_usize, prop::sample::select(states), prop::option::weighted(0.8, some_stores(3))).prop_map(
        |(version, state, tree)| {
            let tree = if state == JobState::Requested { None } else { tree };
            Asked { version, state, tree }
        },
    )
}

/// Points in time, as numbers of calls, in order.
fn moments(count: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..24_usize, count).prop_map(|mut at| {
        at.sort_unstable();
        at
    })
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        2 => Just(Meanwhile::Nothing),
        3 => (0..STORES, some_chunks(), moments(4))
            .prop_map(|(store, chunks, at)| Meanwhile::Upload { store, chunks, at }),
        2 => (0..STORES, some_chunks(), moments(2))
            .prop_map(|(store, chunks, at)| Meanwhile::LongUpload { store, chunks, at }),
        2 => (0..STORES, 0..STORES, some_chunks(), moments(3))
            .prop_map(|(source, store, chunks, at)| Meanwhile::Job { source, store, chunks, at }),
    ]
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let held = prop::collection::vec((0..CHUNKS_THERE_ARE, prop::bool::weighted(0.8)), 0..8);
    let faults = prop::sample::select(vec![Fault::Fails, Fault::Fails, Fault::CutOff, Fault::Late]);
    (
        (0..STORES, some_stores(3), prop::collection::vec(version(), 0..4), prop::collection::vec(asked(), 0..4)),
        (
            prop::collection::vec(held, STORES),
            prop_oneof![4 => Just(Vec::new()), 1 => some_stores(2)],
            prop::option::weighted(0.3, (0..24_usize, faults)),
            meanwhile(),
            prop::bool::weighted(0.1),
        ),
    )
        .prop_map(|((configured, in_targets, versions, jobs), (held, given_up, fault, meanwhile, dry_run))| Case {
            configured,
            in_targets,
            versions,
            jobs,
            held,
            given_up,
            fault,
            meanwhile,
            dry_run,
        })
}

impl Case {
    /// The stores that must have manifests.
    pub(crate) fn sources(&self) -> BTreeSet<usize> {
        let planned = self.jobs.iter().filter(|asked| asked.tree.is_some());
        let of_jobs = planned.filter_map(|asked| self.versions.get(asked.version)).map(|version| version.store);
        of_jobs.chain([self.configured]).collect()
    }

    /// The stores whose chunks are collected.
    pub(crate) fn known(&self) -> BTreeSet<usize> {
        let jobs = self.jobs.iter().filter(|asked| self.versions.get(asked.version).is_some());
        let of_jobs = jobs.flat_map(|asked| asked.tree.iter().flatten().copied());
        of_jobs.chain(self.in_targets.iter().copied()).chain(self.sources()).collect()
    }

    /// Whether the collection may know of a store: a job that is planned meanwhile may name it too.
    pub(crate) fn may_know(&self, n: usize) -> bool {
        let planned = matches!(self.meanwhile, Meanwhile::Job { source, store, .. } if source == n || store == n);
        planned || self.known().contains(&n)
    }

    /// The names of the chunks that a manifest in a known store names, or the version of a job that has work left.
    pub(crate) fn live(&self, sources_only: bool) -> BTreeSet<String> {
        let searched = if sources_only { self.sources() } else { self.known() };
        let open = |n: usize| self.jobs.iter().any(|asked| asked.version == n && asked.state == JobState::Requested);
        let versions = self.versions.iter().enumerate();
        let live = versions.filter(|(n, version)| match version.manifest {
            Written::GivenUp => false,
            _ => searched.contains(&version.store) || open(*n),
        });
        live.flat_map(|(_, version)| version.chunks.iter().map(|n| name_of(*n))).collect()
    }

    /// Whether a store must have manifests and has none.
    pub(crate) fn has_empty_source(&self) -> bool {
        let of_upload = |n: usize| match self.meanwhile {
            Meanwhile::Upload { store, .. } | Meanwhile::LongUpload { store, .. } => store == n,
            _ => false,
        };
        let of_job = |n: usize| matches!(self.meanwhile, Meanwhile::Job { source, .. } if source == n);
        self.sources().into_iter().any(|n| {
            !self.given_up.contains(&n)
                && !of_upload(n)
                && !of_job(n)
                && self.versions.iter().all(|version| version.store != n || version.manifest == Written::GivenUp)
        })
    }
}
