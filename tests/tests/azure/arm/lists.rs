use std::time::Duration;

use goldfleet_tests::azure::arm::token::token;
use goldfleet_tests::azure::arm::{Account, Lock, LockLevel, Role, RoleAssignment};
use reqwest::Method;
use serde_json::{Value, json};

use crate::arm::fixture::{AUDIENCE, ArmFixture, ONE, TENANT, TWO, WORKER, reply, world};

fn names(body: &Value, member: &str) -> Vec<String> {
    body["value"].as_array().unwrap().iter().map(|value| value[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_subscriptions_of_tenant() {
    let other = "33333333-3333-3333-3333-333333333333";
    let three = "00000000-0000-0000-0000-000000000003";
    let fixture = ArmFixture::new(world().subscription(other, three)).await;
    let list = "/subscriptions?api-version=2022-12-01";
    assert_eq!(names(&fixture.get(list).await.body, "subscriptionId"), [ONE, TWO]);
    let request =
        fixture.request(Method::GET, list).bearer_auth(token(other, WORKER, AUDIENCE, Duration::from_secs(60)));
    assert_eq!(names(&reply(request).await.body, "subscriptionId"), [three]);
    let one = fixture.get(&format!("/subscriptions/{ONE}?api-version=2022-12-01")).await.body;
    assert_eq!((&one["tenantId"], &one["state"]), (&json!(TENANT), &json!("Enabled")));
    let scope = format!("/subscriptions/{TWO}/resourceGroups/images");
    fixture.manager.world().write(|world| {
        *world = world.clone().role(RoleAssignment::new(WORKER, &scope, Role::reader()));
    });
    assert_eq!(names(&fixture.get(list).await.body, "subscriptionId"), [TWO], "where he has a role");
    let regions = fixture.get(&format!("/subscriptions/{TWO}/locations?api-version=2022-12-01")).await;
    regions.refused(403, "AuthorizationFailed", "subscriptions/locations/read");
}

#[tokio::test]
async fn lists_regions_and_providers() {
    let fixture = ArmFixture::new(world()).await;
    let regions = fixture.get(&format!("/subscriptions/{ONE}/locations?api-version=2022-12-01")).await.body;
    let west = regions["value"].as_array().unwrap().iter().find(|region| region["name"] == "westeurope").unwrap();
    assert_eq!(west["displayName"], "West Europe");
    fixture.manager.world().write(|world| {
        world.regions_of.insert("Microsoft.Compute/images".to_owned(), vec!["eastus".to_owned()]);
        world.subscriptions[0].unregistered.insert("microsoft.storage".to_owned());
    });
    let provider = |name: &str| format!("/subscriptions/{ONE}/providers/{name}?api-version=2025-04-01");
    let compute = fixture.get(&provider("microsoft.compute")).await.body;
    assert_eq!(
        (&compute["namespace"], &compute["registrationState"]),
        (&json!("Microsoft.Compute"), &json!("Registered"))
    );
    let images = &compute["resourceTypes"][0];
    assert_eq!((&images["resourceType"], &images["locations"]), (&json!("images"), &json!(["East US"])));
    let storage = fixture.get(&provider("Microsoft.Storage")).await.body;
    assert_eq!(storage["registrationState"], "NotRegistered");
    fixture.get(&provider("Microsoft.Nothing")).await.refused(404, "InvalidResourceNamespace", "Microsoft.Nothing");
}

#[tokio::test]
async fn lists_resource_groups() {
    let fixture = ArmFixture::new(world()).await;
    let group = |name: &str| format!("/subscriptions/{ONE}/resourcegroups/{name}?api-version=2025-04-01");
    assert_eq!(fixture.get(&group("IMAGES")).await.body["location"], "westeurope");
    fixture.get(&group("new")).await.refused(404, "ResourceGroupNotFound", "'new'");
    for (name, status) in [("images", 204), ("new", 404)] {
        let head = fixture.send(Method::HEAD, &group(name), None).await;
        assert_eq!((head.status, head.body), (status, Value::Null));
    }
    let made = fixture.put(&group("new"), &json!({ "location": "East US", "tags": { "a": "b" } })).await;
    assert_eq!(
        (made.status, &made.body["location"], &made.body["tags"]),
        (201, &json!("eastus"), &json!({ "a": "b" }))
    );
    assert_eq!(fixture.put(&group("NEW"), &json!({ "location": "eastus" })).await.status, 200);
    let moved = fixture.put(&group("new"), &json!({ "location": "westus" })).await;
    moved.refused(409, "InvalidResourceGroupLocation", "already exists in location 'eastus'");
    fixture.put(&group("x"), &json!({})).await.refused(400, "LocationRequired", "");
    fixture.put(&group("x"), &json!({ "location": "eastus", "kind": "x" })).await.refused(
        400,
        "InvalidRequestContent",
        "",
    );
    let list = fixture.get(&format!("/subscriptions/{ONE}/resourceGroups?api-version=2025-04-01")).await.body;
    assert_eq!(names(&list, "name"), ["images", "new"]);
}

#[tokio::test]
async fn lists_storage_accounts() {
    let mut closed = Account::new(ONE, "images", "closed", "eastus").at("https://127.0.0.1:10000/closed");
    closed.default_action = "Deny".to_owned();
    closed.ip_rules.push("203.0.113.0/24".to_owned());
    let subnet =
        format!("/subscriptions/{ONE}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/s");
    closed.vnet_rules.push(subnet.clone());
    let fixture = ArmFixture::new(world().account(closed)).await;
    let at = |rest: &str| format!("/subscriptions/{ONE}{rest}?api-version=2025-01-01");
    let accounts = "/providers/Microsoft.Storage/storageAccounts";
    let account = fixture.get(&at(&format!("/resourceGroups/images{accounts}/CLOSED"))).await.body;
    let properties = &account["properties"];
    assert_eq!((&account["location"], &account["kind"]), (&json!("eastus"), &json!("StorageV2")));
    assert_eq!(properties["primaryEndpoints"]["blob"], "https://127.0.0.1:10000/closed/");
    assert_eq!(properties["networkAcls"]["defaultAction"], "Deny");
    assert_eq!(properties["networkAcls"]["bypass"], "AzureServices");
    assert_eq!(properties["networkAcls"]["ipRules"][0]["value"], "203.0.113.0/24");
    assert_eq!(properties["networkAcls"]["virtualNetworkRules"][0]["id"], subnet);
    assert_eq!(
        (&properties["allowSharedKeyAccess"], &properties["allowBlobPublicAccess"]),
        (&json!(false), &json!(false))
    );
    for list in [accounts.to_owned(), format!("/resourceGroups/images{accounts}")] {
        assert_eq!(names(&fixture.get(&at(&list)).await.body, "name"), ["stage1", "closed"]);
    }
    let missing = fixture.get(&at(&format!("/resourceGroups/images{accounts}/nobody"))).await;
    missing.refused(404, "ResourceNotFound", "'Microsoft.Storage/storageAccounts/nobody'");
}

#[tokio::test]
async fn lists_permissions_and_roles() {
    let subscription = format!("/subscriptions/{ONE}");
    let group = format!("{subscription}/resourceGroups/images");
    let account = format!("{group}/providers/Microsoft.Storage/storageAccounts/stage1");
    let data =
        Role::custom("data", &["*/read"], &["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*"]);
    let world = world()
        .role(RoleAssignment::new(WORKER, &subscription, Role::contributor()))
        .role(RoleAssignment::new("team", &account, data))
        .role(RoleAssignment::new("stranger", &group, Role::owner()));
    let fixture = ArmFixture::new(world).await;
    fixture.manager.world().write(|world| world.memberships.insert(WORKER.to_owned(), ["team".to_owned()].into()));
    let permissions =
        |scope: &str| format!("{scope}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01");
    let at_group = fixture.get(&permissions(&group)).await.body;
    assert_eq!(at_group["value"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&at_group["value"][0]["actions"], at_group["value"][0]["notActions"][0].as_str().unwrap()),
        (&json!(["*"]), "Microsoft.Authorization/*/Delete")
    );
    // If the specification's parentResourcePath is empty, the path contains two slashes.
    let at_account =
        fixture.get(&permissions(&account.replace("Microsoft.Storage/", "Microsoft.Storage//"))).await.body;
    assert_eq!(at_account["value"].as_array().unwrap().len(), 2);
    assert!(at_account["value"][1]["dataActions"][0].as_str().unwrap().ends_with("blobs/*"));

    let roles = |scope: &str, filter: &str| {
        format!("{scope}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter={filter}")
    };
    let who = async |path: String| {
        let body = fixture.get(&path).await.body;
        let values = body["value"].as_array().unwrap().clone();
        values.iter().map(|v| v["properties"]["principalId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(who(roles(&group, "")).await, [WORKER, "team", "stranger"]);
    assert_eq!(who(roles(&group, "atScope()")).await, [WORKER, "stranger"]);
    assert_eq!(who(roles(&account, &format!("assignedTo('{WORKER}')"))).await, [WORKER, "team"]);
    assert_eq!(who(roles(&account, &format!("principalId%20eq%20'{WORKER}'"))).await, [WORKER]);
    fixture.get(&roles(&group, "nonsense")).await.refused(400, "UnsupportedQuery", "nonsense");
}

#[tokio::test]
async fn lists_locks_at_above_and_below_scope() {
    let subscription = format!("/subscriptions/{ONE}");
    let group = format!("{subscription}/resourceGroups/images");
    let account = format!("{group}/providers/Microsoft.Storage/storageAccounts/stage1");
    let mut world = world();
    for (name, scope) in [("a", &subscription), ("b", &group), ("c", &account)] {
        world = world.lock(Lock::new(name, scope, LockLevel::CanNotDelete));
    }
    let fixture = ArmFixture::new(world).await;
    let locks = |scope: &str, filter: &str| {
        format!("{scope}/providers/Microsoft.Authorization/locks?api-version=2020-05-01{filter}")
    };
    let all = fixture.get(&locks(&group, "")).await.body;
    assert_eq!(names(&all, "name"), ["a", "b", "c"]);
    assert_eq!(all["value"][1]["properties"]["level"], "CanNotDelete");
    assert_eq!(all["value"][1]["id"], format!("{group}/providers/Microsoft.Authorization/locks/b"));
    assert_eq!(names(&fixture.get(&locks(&group, "&$filter=atScope()")).await.body, "name"), ["a", "b"]);
    assert_eq!(names(&fixture.get(&locks(&account, "")).await.body, "name"), ["a", "b", "c"]);
}

/// Source: specification: 201 and 200 for a PUT, 200 and 204 for a DELETE.
#[tokio::test]
async fn locks_are_put_and_deleted() {
    let group = format!("/subscriptions/{ONE}/resourceGroups/images");
    let fixture = ArmFixture::new(world()).await;
    let lock = |scope: &str, name: &str| {
        format!("{scope}/providers/Microsoft.Authorization/locks/{name}?api-version=2020-05-01")
    };
    let body = |level: &str| json!({ "properties": { "level": level, "notes": "why" } });
    for (level, status) in [("CanNotDelete", 201), ("ReadOnly", 200)] {
        let put = fixture.put(&lock(&group, "Keep"), &body(level)).await;
        assert_eq!((put.status, &put.body["properties"]), (status, &body(level)["properties"]), "{put:?}");
        assert_eq!(fixture.get(&lock(&group.to_lowercase(), "keep")).await.body, put.body);
    }
    // A read-only lock does not prevent the change of a lock.
    assert_eq!(fixture.put(&lock(&group, "other"), &body("CanNotDelete")).await.status, 201);
    fixture.put(&lock(&group, "none"), &json!({ "properties": {} })).await.refused(400, "InvalidParameter", "level");
    let missing = format!("{group}/providers/Microsoft.Compute/snapshots/none");
    fixture.put(&lock(&missing, "keep"), &body("ReadOnly")).await.refused(404, "ResourceNotFound", "snapshots/none");
    let nowhere = group.replace("images", "nowhere");
    fixture.put(&lock(&nowhere, "keep"), &body("ReadOnly")).await.refused(404, "ResourceGroupNotFound", "nowhere");
    for status in [200, 204] {
        assert_eq!(fixture.delete(&lock(&group, "KEEP")).await.status, status);
    }
    fixture.get(&lock(&group, "keep")).await.refused(404, "LockNotFound", "keep");
}
