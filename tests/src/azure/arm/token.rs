//! Bearer tokens. They are not signed, but otherwise checked as Resource Manager checks them.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::response::ArmAnswer;

/// The audiences of Resource Manager. Source: seen, hashicorp/go-azure-helpers#51.
pub const AUDIENCES: [&str; 4] = [
    "https://management.core.windows.net/",
    "https://management.core.windows.net",
    "https://management.azure.com/",
    "https://management.azure.com",
];

/// Creates a token for a principal (its object id) of a tenant. It has no signature.
#[must_use]
pub fn token(tenant: &str, principal: &str, audience: &str, valid: Duration) -> String {
    token_at(tenant, principal, audience, valid, Timestamp::now())
}

/// Creates a token as of the time `now`.
#[must_use]
pub fn token_at(tenant: &str, principal: &str, audience: &str, valid: Duration, now: Timestamp) -> String {
    let issued = now.as_second();
    let expires = issued.saturating_add_unsigned(valid.as_secs());
    let claims = json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{tenant}/"), "iat": issued, "nbf": issued,
        "exp": expires, "tid": tenant, "oid": principal, "sub": principal, "appid": principal, "ver": "1.0",
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({ "typ": "JWT", "alg": "none" })), part(&claims), URL_SAFE_NO_PAD.encode("none"))
}

/// The caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principal {
    pub(super) tenant: String,
    pub(super) object: String,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    exp: i64,
    nbf: Option<i64>,
    tid: String,
    oid: String,
}

/// The error for a token. Source: seen; clients find the tenant of a subscription by the tenant's authority in the
/// header.
pub(super) fn refused(code: &str, message: impl Into<String>, tenant: Option<&str>) -> ArmAnswer {
    let message = message.into();
    let tenant = tenant.unwrap_or("common");
    let challenge = format!(
        "Bearer authorization_uri=\"https://login.windows.net/{tenant}\", error=\"invalid_token\", \
         error_description=\"{}\"",
        message.replace('"', "'")
    );
    ArmAnswer::error(StatusCode::UNAUTHORIZED, code, message).header("www-authenticate", challenge)
}

/// Parses and checks the token of a request. `tenant` is the tenant of the requested subscription.
pub(super) fn check(
    header: Option<&HeaderValue>,
    audiences: &[String],
    tenant: Option<&str>,
    now: Timestamp,
) -> Result<Principal, ArmAnswer> {
    let Some(header) = header else {
        let message = "Authentication failed. The 'Authorization' header is missing.";
        return Err(refused("AuthenticationFailed", message, tenant));
    };
    let Some(claims) = header.to_str().ok().and_then(claims) else {
        let message = "Authentication failed. The 'Authorization' header is provided in an invalid format.";
        return Err(refused("AuthenticationFailed", message, tenant));
    };
    if !audiences.contains(&claims.aud) {
        let message = format!(
            "The access token has been obtained for wrong audience or resource '{}'. It should exactly match with one of \
             the allowed audiences '{}'.",
            claims.aud,
            audiences.join("','")
        );
        return Err(refused("InvalidAuthenticationTokenAudience", message, tenant));
    }
    if claims.exp <= now.as_second() {
        let expiry = Timestamp::from_second(claims.exp).unwrap_or_default();
        let message = format!("The access token expiry UTC time '{expiry}' is earlier than current UTC time '{now}'.");
        return Err(refused("ExpiredAuthenticationToken", message, tenant));
    }
    // Clocks may differ by five minutes. Source: Microsoft.IdentityModel's default clock skew.
    if claims.nbf.is_some_and(|from| from > now.as_second().saturating_add(300)) {
        return Err(refused("InvalidAuthenticationToken", "The access token is not valid yet.", tenant));
    }
    Ok(Principal { tenant: claims.tid, object: claims.oid })
}

fn claims(header: &str) -> Option<Claims> {
    let (scheme, token) = header.split_once(' ')?;
    let mut parts = token.split('.');
    let (_head, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if !scheme.eq_ignore_ascii_case("bearer") || parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// The error for a token of another tenant. Source: seen, Azure/BatchExplorer#2044.
pub(super) fn wrong_tenant(principal: &Principal, tenant: &str) -> ArmAnswer {
    let message = format!(
        "The access token is from the wrong issuer 'https://sts.windows.net/{}/'. It must match the tenant \
         'https://sts.windows.net/{tenant}/' associated with this subscription. Please use the authority (URL) \
         'https://login.windows.net/{tenant}' to get the token. Note, if the subscription is transferred to another tenant \
         there is no impact to the services, but information about new tenant could take time to propagate (up to an \
         hour). If you just transferred your subscription and see this error message, please try back later.",
        principal.tenant
    );
    refused("InvalidAuthenticationTokenTenant", message, Some(tenant))
}
