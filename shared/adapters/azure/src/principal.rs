//! The name of a token's principal, for the log. Tokens are opaque to clients, so only a display name is read from
//! them.

use azure_core::credentials::AccessToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The claims that name a user or an application. Source: Microsoft identity platform, access token claims reference.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    /// The name of a user in tokens of version 1.0.
    upn: Option<String>,
    /// The name of a user in tokens of version 2.0.
    preferred_username: Option<String>,
    /// The name of a guest user.
    unique_name: Option<String>,
    /// The name of an application.
    app_displayname: Option<String>,
    /// The id of an application in tokens of version 1.0.
    appid: Option<String>,
    /// The id of an application in tokens of version 2.0.
    azp: Option<String>,
    /// The object id of the principal.
    oid: Option<String>,
}

/// The name of a token's principal: the name of a user, or else the name or id of an application. Returns None if the
/// token does not contain it.
pub(super) fn principal(token: &AccessToken) -> Option<String> {
    let claims = token.token.secret().split('.').nth(1)?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?).ok()?;
    let user = claims.upn.or(claims.preferred_username).or(claims.unique_name);
    let application = claims.app_displayname.or(claims.appid).or(claims.azp).or(claims.oid);
    let name = user.or_else(|| application.map(|application| format!("application {application}")))?;
    // Terminals and web pages show the name, so control characters are rejected.
    (name.chars().count() <= 200 && !name.chars().any(char::is_control)).then_some(name)
}

#[cfg(test)]
mod tests {
    use azure_core::credentials::Secret;
    use azure_core::time::OffsetDateTime;

    use super::*;

    fn of(claims: &str) -> Option<String> {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.signature", part("{}"), part(claims));
        principal(&AccessToken::new(Secret::new(token), OffsetDateTime::now_utc()))
    }

    #[test]
    fn a_user_is_named_before_an_application() {
        let both = r#"{"upn":"alice@contoso.com","appid":"04b07795","oid":"1"}"#;
        assert_eq!(of(both).as_deref(), Some("alice@contoso.com"));
        assert_eq!(of(r#"{"preferred_username":"bob@contoso.com"}"#).as_deref(), Some("bob@contoso.com"));
        assert_eq!(of(r#"{"app_displayname":"pipeline","appid":"7"}"#).as_deref(), Some("application pipeline"));
        assert_eq!(of(r#"{"oid":"1"}"#).as_deref(), Some("application 1"));
    }

    #[test]
    fn a_token_that_cannot_be_read_names_nobody() {
        assert_eq!(of("{}"), None);
        assert_eq!(of("not JSON"), None);
        assert_eq!(of("{\"upn\":\"a\\u001bb\"}"), None);
        let opaque = AccessToken::new(Secret::new("opaque".to_owned()), OffsetDateTime::now_utc());
        assert_eq!(principal(&opaque), None);
    }
}
