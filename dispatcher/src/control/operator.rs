//! The identity of the operator, as jobs, events and approvals record it.

use goldfleet_connect::Connection;

/// The login name and the host of this process, such as `alice@build7`.
#[must_use]
pub fn operator() -> String {
    let unknown = |what: &str| format!("unknown-{what}");
    let login = whoami::username().unwrap_or_else(|_| unknown("user"));
    let host = whoami::hostname().unwrap_or_else(|_| unknown("host"));
    format!("{login}@{host}")
}

/// The principal that is signed in to Azure, followed by the result of [`operator`]: `alice@contoso.com
/// (alice@build7)`. The principal is read from an access token. `connection` is given only if the command needs that
/// token anyway.
pub async fn signed_in(connection: Option<&Connection>) -> String {
    let operator = operator();
    let principal = match connection {
        Some(connection) => connection.principal().await,
        None => None,
    };
    principal.map_or_else(|| operator.clone(), |principal| format!("{principal} ({operator})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_operator_is_a_login_and_a_host() {
        let operator = signed_in(None).await;
        let (login, host) = operator.split_once('@').unwrap();
        assert!(!login.is_empty() && !host.is_empty() && !operator.contains(&std::process::id().to_string()));
    }
}
