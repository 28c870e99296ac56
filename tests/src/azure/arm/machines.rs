//! Virtual machines. Source: specification, ComputeRP 2025-04-01, `VirtualMachines_*`. The double creates machines from
//! existing managed disks only. Codes without another source are guesses.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::disks;
use super::images::ImageState;
use super::operations::{self, Change};
use super::pipeline::{Call, page};
use super::put::{elsewhere, without_nulls};
use super::resources::normalized_region;
use super::response::{ArmAnswer, HandlerResult};
use super::route::PowerVerb;
use super::state::TenantState;
use super::{access, body, providers, schema};

/// The resource type.
pub(super) const TYPE: &str = "Microsoft.Compute/virtualMachines";

/// A virtual machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its subscription.
    pub subscription: String,
    /// Its resource group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its members besides these, its properties and its id, such as `zones`.
    pub members: BTreeMap<String, Value>,
    /// Its properties except the provisioning state and the instance view.
    pub properties: Value,
    /// Whether it has a host.
    pub running: bool,
    /// Its provisioning state.
    pub state: ImageState,
}

impl Machine {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        let (subscription, group, name) = (&self.subscription, &self.group, &self.name);
        format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/{TYPE}/{name}")
    }

    pub(super) fn key(&self) -> String {
        self.id().to_ascii_lowercase()
    }

    /// The machine as a list or a GET without `$expand` returns it.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut properties = self.properties.clone();
        properties["provisioningState"] = json!(format!("{:?}", self.state));
        let mut value = json!({
            "id": self.id(), "name": self.name, "type": TYPE, "etag": "\"1\"",
            "location": self.region, "tags": self.tags, "properties": properties,
        });
        for (name, member) in &self.members {
            value[name] = member.clone();
        }
        value
    }

    /// Source: specification, example `VirtualMachine_Get_WithInstanceView`.
    fn json_with_view(&self) -> Value {
        let mut value = self.json();
        let power = if self.running { "running" } else { "deallocated" };
        let display = format!("VM {power}");
        value["properties"]["instanceView"] = json!({
            "statuses": [
                { "code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded" },
                { "code": format!("PowerState/{power}"), "level": "Info", "displayStatus": display },
            ],
        });
        value
    }

    /// The keys of its disks.
    fn disks(&self) -> Vec<String> {
        attached(&self.properties).into_iter().map(|id| id.to_ascii_lowercase()).collect()
    }
}

/// The ids of the disks in the properties of a machine.
fn attached(properties: &Value) -> Vec<String> {
    let profile = &properties["storageProfile"];
    let data = profile["dataDisks"].as_array().into_iter().flatten();
    let disks = std::iter::once(&profile["osDisk"]).chain(data);
    disks.filter_map(|disk| disk["managedDisk"]["id"].as_str()).map(str::to_owned).collect()
}

pub(super) fn find<'w>(world: &'w TenantState, key: &str) -> Option<&'w Machine> {
    world.machines.iter().find(|machine| machine.key() == key)
}

fn not_found(call: &Call) -> ArmAnswer {
    ArmAnswer::resource_not_found(TYPE, &call.route.name, call.route.group.as_deref().unwrap_or_default())
}

pub(super) fn list(world: &TenantState, call: &Call) -> HandlerResult {
    let route = &call.route;
    let here = |machine: &&Machine| {
        route.subscription.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&machine.subscription))
            && route.group.as_ref().is_none_or(|group| group.eq_ignore_ascii_case(&machine.group))
    };
    let values = world.machines.iter().filter(here).map(Machine::json);
    Ok(page(world, call, values.map(|value| world.as_listed(value)).collect()))
}

/// Returns a machine. The instance view is in the answer only if `$expand` names it.
pub(super) fn get(world: &mut TenantState, call: &Call) -> HandlerResult {
    let key = disks::key(call);
    world.operations.count_poll(&key);
    let machine = find(world, &key).ok_or_else(|| not_found(call))?;
    let has_view = call.query.get("$expand").is_some_and(|what| what.eq_ignore_ascii_case("instanceView"));
    Ok(ArmAnswer::ok(if has_view { machine.json_with_view() } else { machine.json() }))
}

/// Creates or updates a machine. Source: specification: 201 for a new machine, 200 for an update.
pub(super) fn put(world: &mut TenantState, call: &Call) -> HandlerResult {
    let asked = body::parse(&call.body)?;
    let machine = wanted(world, call, &asked)?;
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    let key = machine.key();
    let present = find(world, &key).is_some();
    check_condition(call, present)?;
    let change = if present { Change::Update } else { Change::Create };
    operations::resolve_collision(world, &key, change, call.now)?;
    world.log.accepted.push(call.accepted(&asked));
    let state = match (settings.at_once, present) {
        (true, _) => ImageState::Succeeded,
        (false, false) => ImageState::Creating,
        (false, true) => ImageState::Updating,
    };
    let machine = Machine { state, ..machine };
    let status = if present { StatusCode::OK } else { StatusCode::CREATED };
    let mut answer = ArmAnswer::json(status, machine.json());
    if !settings.at_once {
        answer.headers = world.operations.begin(call, &settings, (&key, &machine.region), change, None);
    }
    world.machines.retain(|found| found.key() != key);
    set_disks(world, &machine, true);
    world.machines.push(machine);
    Ok(answer)
}

/// Checks the condition that the machine does not exist. Source: specification, `If-None-Match` of
/// `VirtualMachines_CreateOrUpdate`: only `*` is supported. The status is that of the condition in HTTP; no response of
/// Azure shows it.
fn check_condition(call: &Call, present: bool) -> Result<(), ArmAnswer> {
    match call.if_none_match.as_deref() {
        Some("*") if present => {
            let message = format!("The resource '{}' already exists.", call.route.name);
            Err(ArmAnswer::error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message))
        }
        None | Some("*") => Ok(()),
        Some(_) => Err(ArmAnswer::bad_request("InvalidParameter", "The value of If-None-Match is not supported.")),
    }
}

fn wanted(world: &TenantState, call: &Call, asked: &Value) -> Result<Machine, ArmAnswer> {
    schema::MACHINE.check(asked)?;
    let location = asked["location"].as_str().ok_or_else(body::location_required)?;
    let present = find(world, &disks::key(call));
    if let Some(present) = present.filter(|found| normalized_region(&found.region) != normalized_region(location)) {
        return Err(elsewhere((&present.name, &present.region, &present.group), location));
    }
    providers::available(world, TYPE, location)?;
    access::policies(world, &call.route, asked)?;
    let mut properties = without_nulls(&asked["properties"]);
    if properties["hardwareProfile"]["vmSize"].as_str().is_none() {
        return Err(ArmAnswer::missing("vmSize"));
    }
    let interfaces = &properties["networkProfile"];
    if interfaces["networkInterfaces"].is_null() && interfaces["networkInterfaceConfigurations"].is_null() {
        return Err(ArmAnswer::missing("networkProfile"));
    }
    let members = ["zones", "plan"].into_iter().filter(|name| !asked[*name].is_null());
    let mut machine = Machine {
        subscription: call.route.subscription.clone().unwrap_or_default(),
        group: call.route.group.clone().unwrap_or_default(),
        name: call.route.name.clone(),
        region: normalized_region(location),
        tags: world.kept_tags(body::tags(asked)?),
        members: members.map(|name| (name.to_owned(), asked[name].clone())).collect(),
        properties: Value::Null,
        running: present.is_none_or(|present| present.running),
        state: ImageState::Succeeded,
    };
    check_disks(world, &machine, &properties)?;
    set_produced(&mut properties, present, call.now, &machine);
    machine.properties = properties;
    Ok(machine)
}

/// Sets what the platform sets. The interfaces exist after the creation, and their configurations are not returned.
fn set_produced(properties: &mut Value, present: Option<&Machine>, now: Timestamp, machine: &Machine) {
    properties["vmId"] =
        present.map_or_else(|| json!(Uuid::new_v4().to_string()), |found| found.properties["vmId"].clone());
    properties["timeCreated"] =
        present.map_or_else(|| json!(now.to_string()), |found| found.properties["timeCreated"].clone());
    let configured = properties["networkProfile"]["networkInterfaceConfigurations"].as_array().cloned();
    if let Some(configured) = configured {
        let id = |one: &Value| {
            let name = one["name"].as_str().unwrap_or_default();
            let scope = format!("/subscriptions/{}/resourceGroups/{}", machine.subscription, machine.group);
            json!({ "id": format!("{scope}/providers/Microsoft.Network/networkInterfaces/{name}") })
        };
        let interfaces: Vec<Value> = configured.iter().map(id).collect();
        properties["networkProfile"] = json!({ "networkInterfaces": interfaces });
    }
}

/// Source: Azure, attach disks: a disk is attached to one machine, in its region.
fn check_disks(world: &TenantState, machine: &Machine, properties: &Value) -> Result<(), ArmAnswer> {
    let profile = &properties["storageProfile"];
    let data = profile["dataDisks"].as_array().cloned().unwrap_or_default();
    for disk in std::iter::once(&profile["osDisk"]).chain(&data) {
        if disk["createOption"].as_str() != Some("Attach") {
            let message = "The double supports the create option 'Attach' only.";
            return Err(ArmAnswer::bad_request("InvalidParameter", message).target("createOption"));
        }
    }
    let mut luns: Vec<i64> = data.iter().filter_map(|disk| disk["lun"].as_i64()).collect();
    luns.sort_unstable();
    luns.dedup();
    if luns.len() != data.len() {
        // Source: seen, the message of Microsoft.Compute for a LUN that is used twice.
        let message = "Cannot attach data disk to the virtual machine because its LUN is already in use.";
        return Err(ArmAnswer::bad_request("InvalidParameter", message).target("dataDisk.lun"));
    }
    for id in attached(properties) {
        let disk = disks::find(world, &id.to_ascii_lowercase())
            .ok_or_else(|| ArmAnswer::error(StatusCode::NOT_FOUND, "NotFound", format!("Disk {id} is not found.")))?;
        let owner = disk.members.get("managedBy").and_then(Value::as_str);
        if owner.is_some_and(|owner| owner.to_ascii_lowercase() != machine.key()) {
            // Source: seen, Azure/azure-cli#9023 and others.
            let message = format!(
                "Disk {id} cannot be attached as the disk is already owned by VM '{}'.",
                owner.unwrap_or_default()
            );
            return Err(ArmAnswer::error(StatusCode::CONFLICT, "ConflictingUserInput", message));
        }
        let is_here = normalized_region(&disk.region) == machine.region
            && disk.subscription.eq_ignore_ascii_case(&machine.subscription);
        if !is_here || !disk.is_complete() {
            let message = format!("Disk {id} cannot be attached to the VM.");
            return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
        }
    }
    Ok(())
}

/// `deallocate` and `start`. Source: specification: 202 with a location, or 200.
pub(super) fn act(world: &mut TenantState, call: &Call, verb: PowerVerb) -> HandlerResult {
    let key = disks::key(call);
    let machine = find(world, &key).ok_or_else(|| not_found(call))?.clone();
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    let change = Change::Power(verb == PowerVerb::Start);
    operations::resolve_collision(world, &key, change, call.now)?;
    world.log.accepted.push(call.accepted(&Value::Null));
    if settings.at_once {
        set_power(world, &key, verb == PowerVerb::Start);
        return Ok(ArmAnswer::empty(StatusCode::OK));
    }
    let mut answer = ArmAnswer::empty(StatusCode::ACCEPTED);
    answer.headers = world.operations.begin(call, &settings, (&key, &machine.region), change, None);
    Ok(answer)
}

/// Starts a deletion. The disks stay.
pub(super) fn delete(world: &mut TenantState, call: &Call) -> HandlerResult {
    let key = disks::key(call);
    let Some(machine) = find(world, &key).cloned() else { return Ok(ArmAnswer::empty(StatusCode::NO_CONTENT)) };
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    operations::resolve_collision(world, &key, Change::Delete, call.now)?;
    if settings.at_once {
        remove(world, &key);
        return Ok(ArmAnswer::empty(StatusCode::OK));
    }
    if let Some(found) = world.machines.iter_mut().find(|found| found.key() == key) {
        found.state = ImageState::Deleting;
    }
    let mut answer = ArmAnswer::empty(StatusCode::ACCEPTED);
    answer.headers = world.operations.begin(call, &settings, (&key, &machine.region), Change::Delete, None);
    Ok(answer)
}

/// Sets the power state of a machine, and the state of its disks.
pub(super) fn set_power(world: &mut TenantState, key: &str, running: bool) {
    if let Some(machine) = world.machines.iter_mut().find(|machine| machine.key() == key) {
        machine.running = running;
        let machine = machine.clone();
        set_disks(world, &machine, true);
    }
}

/// Removes a machine, and detaches its disks.
pub(super) fn remove(world: &mut TenantState, key: &str) {
    if let Some(machine) = find(world, key).cloned() {
        set_disks(world, &machine, false);
        world.machines.retain(|machine| machine.key() != key);
    }
}

fn set_disks(world: &mut TenantState, machine: &Machine, attached: bool) {
    for key in machine.disks() {
        let Some(disk) = disks::find_mut(world, &key) else { continue };
        let state = match (attached, machine.running) {
            (false, _) => "Unattached",
            (true, true) => "Attached",
            (true, false) => "Reserved",
        };
        disk.properties["diskState"] = json!(state);
        if attached {
            disk.members.insert("managedBy".to_owned(), json!(machine.id()));
        } else {
            disk.members.remove("managedBy");
        }
    }
}
