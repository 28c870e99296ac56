//! A plan as a graph: groups of rows, with gates between them.
//!
//! - Copies of a family to a destination form a chain of gates, `family.F.DESTINATION.K`, oldest source first.
//! - At most [`PARALLEL_COPIES`](crate::rules::PARALLEL_COPIES) copies between regions run at the same time in a
//!   subscription and region. If more families have work, they share lanes: the next family of a lane starts when the
//!   one before has ended in any way.
//! - A copy between regions continues at the service after its row was cancelled. A second row, which runs in any case,
//!   deletes what such a copy left incomplete.
//! - The temporaries of a full snapshot serve all its destinations. Their removal runs in any case, after all copies
//!   from them have ended.

mod edges;
mod row;
mod rows;

use std::collections::BTreeMap;

use crate::plan::{Method, Plan};
use crate::rules::{Rules, Run};

use edges::Edges;
pub use row::{
    CopySpec, CreateSpec, Downtime, EndExportSpec, ExportSpec, Exported, GoldenSpec, RequiresStopped, Restored, Row,
    RowSpec,
};

/// A plan as a graph. Groups are created one by one.
pub struct Graph<'p, 'a> {
    plan: &'p Plan<'a>,
    rules: &'p Rules,
    run: &'p Run,
    /// The gates of each copy, in the order of the plan.
    edges: Vec<Edges>,
    /// The copies that need the temporaries of a source, by the unique id of the source.
    scratch: BTreeMap<&'p str, Vec<usize>>,
}

impl<'p, 'a> Graph<'p, 'a> {
    /// The graph of a plan that was made with these rules for this run.
    #[must_use]
    pub fn new(plan: &'p Plan<'a>, rules: &'p Rules, run: &'p Run) -> Self {
        let mut scratch: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, copy) in plan.copies.iter().enumerate() {
            // A copy that began in an earlier run has its own temporaries, which that run removes.
            if copy.method == Method::Scratch && !copy.underway {
                scratch.entry(&copy.source.unique_id).or_default().push(index);
            }
        }
        let edges = edges::of(plan, rules, &scratch);
        Self { plan, rules, run, edges, scratch }
    }

    /// The groups: temporaries, copies, promotions, removals, and locks. The rows of a group are a chain.
    pub fn groups(&self) -> impl Iterator<Item = Vec<Row>> + '_ {
        let scratch = self.scratch.iter().flat_map(|(source, copies)| self.temporaries(source, copies));
        let copies = (0..self.plan.copies.len()).map(|index| self.copy(index));
        let promotions = self.plan.promotions.iter().map(|promotion| self.promotion(promotion));
        let removals = self.plan.removals.iter().map(|removal| vec![self.removal(removal)]);
        let locks = self.plan.locks.iter().map(|lock| vec![self.lock(lock)]);
        scratch.chain(copies).chain(promotions).chain(removals).chain(locks)
    }
}
