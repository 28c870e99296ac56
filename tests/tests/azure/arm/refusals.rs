use std::time::Duration;

use goldfleet_tests::azure::arm::token::{token, token_at};
use goldfleet_tests::azure::arm::{Lock, LockLevel, Policy, Role, RoleAssignment};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;

use crate::arm::fixture::{
    AUDIENCE, ArmFixture, ONE, TENANT, TWO, WORKER, body, body_with, image, image_of, reply, world,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn api_version_is_required_and_checked() {
    let fixture = ArmFixture::new(world()).await;
    let without = image("golden").replace("?api-version=2025-04-01", "");
    fixture.get(&without).await.refused(400, "MissingApiVersionParameter", "is required for all requests");
    fixture.get(&format!("{without}?api-version=")).await.refused(400, "MissingApiVersionParameter", "");
    // An API version of disks is not one of images.
    let disks = image("golden").replace("2025-04-01", "2025-01-02");
    fixture.get(&disks).await.refused(400, "NoRegisteredProviderFound", "supported api-versions are '2025-04-01'");
    let groups = format!("/subscriptions/{ONE}/resourceGroups?api-version=1999-01-01");
    fixture.get(&groups).await.refused(400, "InvalidApiVersionParameter", "'1999-01-01' is invalid");
}

#[tokio::test]
async fn tokens_are_validated() {
    let fixture = ArmFixture::new(world()).await;
    let none = reply(fixture.request(Method::GET, &image("golden"))).await;
    none.refused(401, "AuthenticationFailed", "'Authorization' header is missing");
    let challenge = none.header("www-authenticate");
    assert!(challenge.starts_with(&format!("Bearer authorization_uri=\"https://login.windows.net/{TENANT}\"")));
    for header in ["Basic abc", "Bearer", "Bearer abc", "Bearer a.b.c"] {
        let request = fixture.request(Method::GET, &image("golden")).header("authorization", header);
        reply(request).await.refused(401, "AuthenticationFailed", "invalid format");
    }
    let past = Timestamp::now() - SignedDuration::from_hours(2);
    let future = Timestamp::now() + SignedDuration::from_hours(2);
    let cases = [
        (token_at(TENANT, WORKER, AUDIENCE, HOUR, past), "ExpiredAuthenticationToken"),
        (token_at(TENANT, WORKER, AUDIENCE, HOUR, future), "InvalidAuthenticationToken"),
        (token(TENANT, WORKER, "https://storage.azure.com", HOUR), "InvalidAuthenticationTokenAudience"),
        (token(TWO, WORKER, AUDIENCE, HOUR), "InvalidAuthenticationTokenTenant"),
    ];
    for (bad, code) in cases {
        let refusal = reply(fixture.request(Method::GET, &image("golden")).bearer_auth(bad)).await;
        refusal.refused(401, code, "");
        assert!(!refusal.header("www-authenticate").is_empty());
    }
    let own = token(TENANT, WORKER, &fixture.manager.endpoint(), HOUR);
    assert_eq!(reply(fixture.request(Method::GET, &image("golden")).bearer_auth(own)).await.status, 404);
}

#[tokio::test]
async fn missing_resources_are_reported() {
    let fixture = ArmFixture::new(world()).await;
    let unknown = "99999999-9999-9999-9999-999999999999";
    fixture.put(&image_of(unknown, "golden"), &body()).await.refused(404, "SubscriptionNotFound", unknown);
    let group = image("golden").replace("resourceGroups/images", "resourceGroups/nothing");
    fixture.put(&group, &body()).await.refused(404, "ResourceGroupNotFound", "'nothing' could not be found");
    fixture.delete(&group).await.refused(404, "ResourceGroupNotFound", "'nothing' could not be found");
    let machine = image("golden").replace("/images/golden", "/virtualMachineScaleSets/golden");
    fixture.get(&machine).await.refused(404, "InvalidResourceType", "could not be found");
    fixture.get("/elsewhere?api-version=2025-04-01").await.refused(404, "MissingSubscription", "");
    let reply = fixture.send(Method::POST, &image("golden"), None).await;
    reply.refused(405, "MethodNotAllowed", "POST");
}

#[tokio::test]
async fn unregistered_provider_and_disabled_subscription_are_rejected() {
    let fixture = ArmFixture::new(world()).await;
    fixture.manager.world().write(|world| {
        world.subscriptions[0].unregistered.insert("Microsoft.Compute".to_owned());
    });
    let refusal = fixture.put(&image("golden"), &body()).await;
    refusal.refused(409, "MissingSubscriptionRegistration", "'Microsoft.Compute'");
    assert_eq!(refusal.body["error"]["details"][0]["target"], "Microsoft.Compute");
    fixture.manager.world().write(|world| {
        world.subscriptions[0].unregistered.clear();
        world.subscriptions[0].state = "Disabled".to_owned();
    });
    fixture.put(&image("golden"), &body()).await.refused(409, "ReadOnlyDisabledSubscription", "is disabled");
    assert_eq!(fixture.get(&image("golden")).await.status, 404);
}

#[tokio::test]
async fn roles_are_enforced() {
    let group = format!("/subscriptions/{ONE}/resourceGroups/images");
    let role = Role::custom("images", &["Microsoft.Compute/images/*", "*/resourceGroups/read"], &[]);
    let fixture = ArmFixture::new(world().role(RoleAssignment::new(WORKER, &group, role))).await;
    assert_eq!(fixture.put(&image("golden"), &body()).await.status, 201);
    let begun = fixture.delete(&image("golden")).await;
    assert_eq!((begun.status, &fixture.finish(&begun).await["status"]), (202, &json!("Succeeded")));
    let refusal = fixture.get(&image_of(TWO, "golden")).await;
    refusal.refused(
        403,
        "AuthorizationFailed",
        &format!(
            "The client '{WORKER}' with object id '{WORKER}' does not have authorization to perform action \
             'Microsoft.Compute/images/read' over scope '/subscriptions/{TWO}/resourceGroups/images/providers/\
             Microsoft.Compute/images/golden'"
        ),
    );
    let accounts = format!("{group}/providers/Microsoft.Storage/storageAccounts/stage1?api-version=2025-01-01");
    fixture.get(&accounts).await.refused(403, "AuthorizationFailed", "Microsoft.Storage/storageAccounts/read");
    // A reader through a group of principals, with no other role.
    fixture.manager.world().write(|world| {
        world.memberships.insert(WORKER.to_owned(), ["readers".to_owned()].into());
        world.roles.push(RoleAssignment::new("readers", &format!("/subscriptions/{TWO}"), Role::reader()));
    });
    assert_eq!(fixture.get(&image_of(TWO, "golden")).await.status, 404);
    fixture.delete(&image_of(TWO, "golden")).await.refused(403, "AuthorizationFailed", "images/delete");
}

#[tokio::test]
async fn policies_are_enforced() {
    let scope = format!("/subscriptions/{ONE}");
    let world = world()
        .policy(Policy::required_tag(&scope, "goldfleet-image"))
        .policy(Policy::allowed_locations(&scope, &["West Europe"]));
    let fixture = ArmFixture::new(world).await;
    let refusal = fixture.put(&image("golden"), &body_with("/tags", json!({}))).await;
    refusal.refused(403, "RequestDisallowedByPolicy", "Resource 'golden' was disallowed by policy.");
    let info = &refusal.body["error"]["additionalInfo"][0];
    assert_eq!((&info["type"], &info["info"]["policyDefinitionEffect"]), (&json!("PolicyViolation"), &json!("deny")));
    assert_eq!(info["info"]["policyAssignmentScope"], scope);
    assert_eq!(refusal.body["error"]["target"], "golden");
    let elsewhere = body_with("/location", json!("eastus"));
    let refusal = fixture.put(&image("golden"), &elsewhere).await;
    refusal.refused(403, "RequestDisallowedByPolicy", "allowed-locations");
    assert_eq!(fixture.put(&image("golden"), &body()).await.status, 201);
    let patch = json!({ "tags": {} });
    let patched = fixture.send(Method::PATCH, &image("golden"), Some(&patch)).await;
    patched.refused(403, "RequestDisallowedByPolicy", "required-tag");
}

#[tokio::test]
async fn locks_are_enforced() {
    let scope = format!("/subscriptions/{ONE}/resourceGroups/images");
    let fixture = ArmFixture::new(world()).await;
    let made = fixture.put(&image("golden"), &body()).await;
    fixture.finish(&made).await;
    let lock = Lock::new("keep", &scope, LockLevel::CanNotDelete);
    fixture.manager.world().write(|world| world.locks.push(lock));
    let refusal = fixture.delete(&image("golden")).await;
    refusal.refused(409, "ScopeLocked", &format!("following scope(s) are locked: '{scope}'"));
    assert_eq!(fixture.put(&image("golden"), &body()).await.status, 200);
    fixture.manager.world().write(|world| world.locks[0].level = LockLevel::ReadOnly);
    fixture.put(&image("golden"), &body()).await.refused(409, "ScopeLocked", "cannot perform write operation");
    assert_eq!(fixture.get(&image("golden")).await.status, 200);
}

#[tokio::test]
async fn tag_limits_are_enforced() {
    let fixture = ArmFixture::new(world()).await;
    let many = (0..51).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>();
    let cases = [
        (json!(many), "TooManyTags"),
        (json!({ "a/b": "" }), "InvalidTagNameCharacters"),
        (json!({ "a": "x".repeat(257) }), "InvalidTagValueLength"),
    ];
    for (tags, code) in cases {
        fixture.put(&image("golden"), &body_with("/tags", tags)).await.refused(400, code, "");
    }
}
