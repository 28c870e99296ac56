//! The credentials that a configuration can name. Identifiers and secrets come from the environment variables of the
//! Azure libraries: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`, `AZURE_FEDERATED_TOKEN_FILE`.

use std::env;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use azure_core::cloud::CloudConfiguration;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, Transport};
use azure_core::time::{Duration, OffsetDateTime};
use azure_core::{Error, Result};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, AzureDeveloperCliCredential, AzureDeveloperCliCredentialOptions,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use goldfleet_azure_settings::{Credential, Environment, Identity};

use super::error::first_line;
use super::set_up::{Explained, Needs, NotSetUp, constructed};

/// The timeout of the probe for a managed identity when other credentials follow in the chain. In Azure the metadata
/// endpoint responds immediately. Outside Azure nothing responds.
const IMDS_PROBE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// The name of the link of a chain that asks the metadata endpoint of the machine.
const MANAGED_IDENTITY: &str = "managed-identity";

/// The lifetime of a token for an emulator.
const EMULATOR_TOKEN: Duration = Duration::hours(1);

/// The tenant of a token for an emulator if no tenant is requested.
const EMULATOR_TENANT: &str = "00000000-0000-0000-0000-000000000000";

/// Creates the credential of an identity, for `tenant` if it differs from the tenant of the identity.
///
/// # Errors
/// Returns an error if the credential cannot be constructed because a variable is missing or malformed.
pub(super) fn build(
    identity: &Identity,
    transport: &Transport,
    tenant: Option<&str>,
) -> Result<Arc<dyn TokenCredential>> {
    let maker = CredentialBuilder { identity, transport, tenant };
    constructed(match identity.credential {
        Credential::Default => Ok(Arc::new(maker.chain())),
        Credential::ManagedIdentity => maker.managed_identity(),
        Credential::WorkloadIdentity => maker.workload_identity(),
        Credential::AzureCli => maker.azure_cli(),
        Credential::ClientSecret => maker.client_secret(),
        Credential::Emulator => {
            Ok(Arc::new(EmulatorCredential { tenant: tenant.unwrap_or(EMULATOR_TENANT).to_owned() }))
        }
    })
}

struct CredentialBuilder<'a> {
    identity: &'a Identity,
    transport: &'a Transport,
    tenant: Option<&'a str>,
}

impl CredentialBuilder<'_> {
    fn client_options(&self) -> ClientOptions {
        let cloud = match self.identity.environment {
            Environment::Public => CloudConfiguration::AzurePublic,
            Environment::UsGovernment => CloudConfiguration::AzureGovernment,
            Environment::China => CloudConfiguration::AzureChina,
        };
        ClientOptions {
            cloud: Some(Arc::new(cloud)),
            transport: Some(self.transport.clone()),
            ..ClientOptions::default()
        }
    }

    fn tenant(&self) -> Option<String> {
        self.tenant.map(str::to_owned)
    }

    fn client_secret(&self) -> Result<Arc<dyn TokenCredential>> {
        let tenant = self.tenant().map_or_else(|| variable("AZURE_TENANT_ID"), Ok)?;
        let (client, secret) = (variable("AZURE_CLIENT_ID")?, variable("AZURE_CLIENT_SECRET")?);
        let options = ClientSecretCredentialOptions { client_options: self.client_options() };
        Ok(ClientSecretCredential::new(&tenant, client, Secret::new(secret), Some(options))?)
    }

    fn workload_identity(&self) -> Result<Arc<dyn TokenCredential>> {
        let credential_options = ClientAssertionCredentialOptions { client_options: self.client_options() };
        let options = WorkloadIdentityCredentialOptions {
            credential_options,
            client_id: self.identity.client_id.clone(),
            tenant_id: self.tenant(),
            token_file_path: None,
        };
        Ok(Explained::wrap(WorkloadIdentityCredential::new(Some(options))?, Needs::TokenFile))
    }

    fn managed_identity(&self) -> Result<Arc<dyn TokenCredential>> {
        // A managed identity belongs to one tenant. For another tenant the service would return a token of its own
        // tenant, and a less specific error would follow later.
        if let Some(tenant) = self.tenant
            && env::var("AZURE_TENANT_ID").is_ok_and(|own| own != tenant)
        {
            let message = format!("a managed identity has no token for tenant {tenant}: use workload-identity");
            return Err(NotSetUp::lasting(message));
        }
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: self.identity.client_id.clone().map(UserAssignedId::ClientId),
            client_options: self.client_options(),
        };
        Ok(ManagedIdentityCredential::new(Some(options))?)
    }

    fn azure_cli(&self) -> Result<Arc<dyn TokenCredential>> {
        let options = AzureCliCredentialOptions { tenant_id: self.tenant(), ..AzureCliCredentialOptions::default() };
        Ok(Explained::wrap(AzureCliCredential::new(Some(options))?, Needs::AZURE_CLI))
    }

    fn developer_cli(&self) -> Result<Arc<dyn TokenCredential>> {
        let options = AzureDeveloperCliCredentialOptions {
            tenant_id: self.tenant(),
            ..AzureDeveloperCliCredentialOptions::default()
        };
        Ok(Explained::wrap(AzureDeveloperCliCredential::new(Some(options))?, Needs::DEVELOPER_CLI))
    }

    fn chain(&self) -> CredentialChain {
        let links = [
            ("client-secret", self.client_secret()),
            ("workload-identity", self.workload_identity()),
            (MANAGED_IDENTITY, self.managed_identity()),
            ("azure-cli", self.azure_cli()),
            ("azure-developer-cli", self.developer_cli()),
        ];
        let links = links.map(|(name, link)| (name, constructed(link)));
        CredentialChain { links: links.into(), found: OnceLock::new() }
    }
}

fn variable(name: &str) -> Result<String> {
    env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| NotSetUp::lasting(format!("the environment variable {name} is not set")))
}

/// Credentials that are tried in order. The first one that returns a token is used from then on.
#[derive(Debug)]
struct CredentialChain {
    links: Vec<(&'static str, Result<Arc<dyn TokenCredential>>)>,
    found: OnceLock<usize>,
}

#[async_trait]
impl TokenCredential for CredentialChain {
    async fn get_token(&self, scopes: &[&str], options: Option<TokenRequestOptions<'_>>) -> Result<AccessToken> {
        if let Some((_, Ok(credential))) = self.found.get().and_then(|&index| self.links.get(index)) {
            return credential.get_token(scopes, options).await;
        }
        let mut reasons = Vec::new();
        let mut is_set_up = false;
        for (index, (name, credential)) in self.links.iter().enumerate() {
            let token = match credential {
                Ok(credential) => tokio::time::timeout(probe_timeout(name), credential.get_token(scopes, None)).await,
                Err(error) => {
                    is_set_up |= NotSetUp::of(error).is_none();
                    reasons.push(reason(name, error));
                    continue;
                }
            };
            match token {
                Ok(Ok(token)) => {
                    tracing::debug!(credential = name, "a credential was found");
                    // Two tasks may find a credential at the same time. It is the same one.
                    self.found.get_or_init(|| index);
                    return Ok(token);
                }
                Ok(Err(error)) => {
                    is_set_up |= *name != MANAGED_IDENTITY && NotSetUp::of(&error).is_none();
                    reasons.push(reason(name, &error));
                }
                Err(_) => {
                    is_set_up |= *name != MANAGED_IDENTITY;
                    reasons.push(format!("{name}: no answer"));
                }
            }
        }
        let message = format!("no credential gave a token ({})", reasons.join("; "));
        // Outside Azure, no managed identity answers. It is no sign of a service that cannot be reached.
        match is_set_up {
            true => Err(Error::with_message(ErrorKind::Credential, message)),
            false => Err(NotSetUp::passing(message)),
        }
    }
}

/// Why a link of a chain gave no token: short, so that a message has room for all links.
fn reason(name: &str, error: &Error) -> String {
    const LONGEST: usize = 90;
    let text = first_line(&error.to_string());
    let cut = if text.chars().count() > LONGEST { "…" } else { "" };
    format!("{name}: {}{cut}", text.chars().take(LONGEST).collect::<String>())
}

fn probe_timeout(name: &str) -> std::time::Duration {
    if name == MANAGED_IDENTITY { IMDS_PROBE_TIMEOUT } else { std::time::Duration::from_secs(60) }
}

/// Unsigned tokens, which only an emulator accepts. The configuration ensures that no other service receives one.
#[derive(Debug)]
struct EmulatorCredential {
    tenant: String,
}

#[async_trait]
impl TokenCredential for EmulatorCredential {
    async fn get_token(&self, scopes: &[&str], _options: Option<TokenRequestOptions<'_>>) -> Result<AccessToken> {
        let scope = scopes.first().copied().unwrap_or_default();
        let now = OffsetDateTime::now_utc();
        let expires_on = now + EMULATOR_TOKEN;
        let claims = serde_json::json!({
            "aud": scope.strip_suffix("/.default").unwrap_or(scope),
            "iss": format!("https://sts.windows.net/{}/", self.tenant),
            "tid": self.tenant,
            "oid": "00000000-0000-0000-0000-00000000f1ee",
            "iat": now.unix_timestamp(),
            "nbf": (now - Duration::minutes(5)).unix_timestamp(),
            "exp": expires_on.unix_timestamp(),
        });
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let header = part(r#"{"alg":"none","typ":"JWT"}"#.to_owned());
        // Azurite requires three parts and does not check the last one.
        Ok(AccessToken::new(Secret::new(format!("{header}.{}.unsigned", part(claims.to_string()))), expires_on))
    }
}
