//! Rows, ids and gates of the graph.

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::ids::Region;
use goldfleet_model::operation::{GroupId, OperationId};
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_snapshots::graph::{CreateSpec, Row, RowSpec as SnapshotSpec};
use goldfleet_snapshots::id::GroupRef;
use serde_json::Value;

use crate::graph::RowSpec;

/// Where rows act, and their group.
#[derive(Clone, Copy)]
pub(crate) struct Place<'r> {
    pub(crate) group: &'r GroupId,
    pub(crate) region: &'r Region,
    pub(crate) subscription: &'r GroupRef,
}

impl Place<'_> {
    pub(crate) fn row<S>(self, step: &str, kind: &'static str, spec: S) -> Row<S> {
        Row {
            id: OperationId::new(self.group.clone(), step),
            kind,
            position: 0,
            region: self.region.clone(),
            label: format!("{}/{}", self.subscription.subscription, self.region),
            after: Vec::new(),
            opens: Vec::new(),
            always: false,
            spec,
        }
    }

    pub(crate) fn create(
        self,
        step: &str,
        kind: &'static str,
        id: &ResourceId,
        copied: Option<String>,
        body: Value,
    ) -> Row<RowSpec> {
        self.row(step, kind, RowSpec::Resource(SnapshotSpec::Create(create_spec(id, copied, body))))
    }

    pub(crate) fn sink(
        self,
        step: &str,
        kind: &'static str,
        id: &ResourceId,
        copied: Option<String>,
        body: Value,
    ) -> Row<RowSpec> {
        self.row(step, kind, RowSpec::Resource(SnapshotSpec::Sink(create_spec(id, copied, body))))
    }
}

pub(crate) fn create_spec(id: &ResourceId, copied_unique_id: Option<String>, body: Value) -> CreateSpec {
    CreateSpec { id: id.to_string(), copied_unique_id, body, requires_stopped: None, once: false, copied_from: None }
}

pub(crate) fn resource_id(place: &GroupRef, resource_type: ResourceType, name: &str) -> ResourceId {
    #[expect(clippy::expect_used, reason = "at most 80 letters, digits, hyphens and underscores")]
    let name = name.parse().expect("the name of a snapshot or disk");
    let (subscription, resource_group) = (place.subscription, place.resource_group.clone());
    ResourceId { subscription, resource_group, resource_type, name }
}

pub(crate) fn hub_gate(region: &Region) -> GateKey {
    gate(&format!("hub.{region}"))
}

pub(crate) fn after(gate: GateKey, on: GateCondition, count: u32) -> After {
    After { gate, on, count }
}

pub(crate) fn gate(name: &str) -> GateKey {
    #[expect(clippy::expect_used, reason = "regions and the words above are letters and digits")]
    name.parse().expect("the key of a gate")
}
