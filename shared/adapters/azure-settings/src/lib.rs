//! The settings of the Azure adapters as plain data: the cloud, the endpoints, and the identity.
//!
//! The configuration parses them and the adapters are opened with them, so neither crate depends on the other.

mod values;

use std::path::PathBuf;

use goldfleet_model::ids::AccountName;
use serde::{Deserialize, Serialize};

pub use values::{Endpoint, Prefix};

/// `[coordination]` with `backend = "azure"`: queues and tables of the source account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureCoordination {
    /// The URL of the Queue service. The default is the endpoint of `{account}` in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_endpoint: Option<Endpoint>,
    /// The URL of the Table service. The default is the endpoint of `{account}` in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_endpoint: Option<Endpoint>,
    /// The prefix of the names of queues and tables. Several fleets with different prefixes can share an account.
    pub prefix: Prefix,
    /// The Azure cloud. This field and the next three are allowed only if `[cloud]` is not Azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// See [`AzureCloud::credential`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// See [`AzureCloud::client_id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// See [`AzureCloud::ca_certificate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<PathBuf>,
}

impl AzureCoordination {
    /// The identity from the fields of this section.
    fn identity(&self) -> Identity {
        Identity {
            environment: self.environment.unwrap_or_default(),
            credential: self.credential.unwrap_or_default(),
            client_id: self.client_id.clone(),
            ca_certificate: self.ca_certificate.clone(),
        }
    }

    /// The URL of the Queue service of an account.
    #[must_use]
    pub fn queues_of(&self, account: &AccountName, environment: Environment) -> String {
        service(self.queue_endpoint.as_ref(), "queue", account, environment)
    }

    /// The URL of the Table service of an account.
    #[must_use]
    pub fn tables_of(&self, account: &AccountName, environment: Environment) -> String {
        service(self.table_endpoint.as_ref(), "table", account, environment)
    }
}

fn service(endpoint: Option<&Endpoint>, name: &str, account: &AccountName, environment: Environment) -> String {
    match endpoint {
        Some(endpoint) => endpoint.for_account(account),
        None => format!("https://{account}.{name}.{}", environment.storage_suffix()),
    }
}

/// `[cloud]` with `backend = "azure"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureCloud {
    /// The Azure cloud.
    pub environment: Environment,
    /// The URL of Resource Manager. The default depends on the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_manager_endpoint: Option<Endpoint>,
    /// The part of a Blob service's host name after the account name. The default depends on the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_suffix: Option<String>,
    /// The URL of the Blob service if accounts have no host name of their own. It contains `{account}` and overrides
    /// `blob_suffix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_endpoint: Option<Endpoint>,
    /// The checksum with which the service verifies an uploaded blob. See [`AzureCloud::checksum`] for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// A PEM file with a root certificate that is trusted in addition to the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<PathBuf>,
    /// The credential with which goldfleet signs in to Azure.
    pub credential: Credential,
    /// The client id of a user-assigned managed identity, or of a workload identity if the environment variables name
    /// another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl AzureCloud {
    fn identity(&self) -> Identity {
        Identity {
            environment: self.environment,
            credential: self.credential,
            client_id: self.client_id.clone(),
            ca_certificate: self.ca_certificate.clone(),
        }
    }

    /// The URL of the Blob service of an account.
    #[must_use]
    pub fn blobs_of(&self, account: &AccountName) -> String {
        match (&self.blob_endpoint, &self.blob_suffix) {
            (Some(endpoint), _) => endpoint.for_account(account),
            (None, Some(suffix)) => format!("https://{account}.{suffix}"),
            (None, None) => service(None, "blob", account, self.environment),
        }
    }

    /// The checksum with which the service verifies an uploaded blob. The default is CRC-64, or MD5 if `blob_endpoint`
    /// is set: accounts without a host name of their own belong to an emulator, which computes CRC-64 in a script and
    /// needs more time for it than for the rest of an upload.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        let usual = if self.blob_endpoint.is_some() { Checksum::Md5 } else { Checksum::Crc64 };
        self.checksum.unwrap_or(usual)
    }

    /// The URL of Resource Manager.
    #[must_use]
    pub fn resource_manager(&self) -> String {
        match &self.resource_manager_endpoint {
            Some(endpoint) => endpoint.to_string(),
            None => self.environment.resource_manager().to_owned(),
        }
    }
}

/// The checksum with which a Blob service verifies the body of a request. Source: Put Blob, `x-ms-content-crc64` and
/// `Content-MD5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// CRC-64/NVME, which the manifest contains.
    Crc64,
    /// MD5, computed for the request: about 1.5 CPU seconds per GiB.
    Md5,
}

/// One of the Azure clouds. Source: Azure's documentation on national clouds and their endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// The public cloud.
    #[default]
    Public,
    /// Azure US Government.
    UsGovernment,
    /// Azure in China, operated by 21Vianet.
    China,
}

impl Environment {
    /// The URL of Resource Manager, which is also the audience of its tokens.
    #[must_use]
    pub fn resource_manager(self) -> &'static str {
        match self {
            Self::Public => "https://management.azure.com",
            Self::UsGovernment => "https://management.usgovcloudapi.net",
            Self::China => "https://management.chinacloudapi.cn",
        }
    }

    /// The part of a storage endpoint's host name after the account and the service.
    #[must_use]
    pub fn storage_suffix(self) -> &'static str {
        match self {
            Self::Public => "core.windows.net",
            Self::UsGovernment => "core.usgovcloudapi.net",
            Self::China => "core.chinacloudapi.cn",
        }
    }
}

/// The credential with which goldfleet signs in to Azure. Identifiers and secrets come from environment variables,
/// which depend on the kind of credential, and never from the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// The first available one of: environment or workload identity, managed identity, developer tools.
    #[default]
    Default,
    /// The managed identity of the machine.
    ManagedIdentity,
    /// The federated token of a Kubernetes workload.
    WorkloadIdentity,
    /// The user who is signed in to the Azure CLI.
    AzureCli,
    /// A service principal with a secret.
    ClientSecret,
    /// An unsigned token, for emulators on this machine.
    Emulator,
}

/// The identity of a process in Azure, the cloud, and the additional root certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The Azure cloud.
    pub environment: Environment,
    /// The kind of credential.
    pub credential: Credential,
    /// The client id of a managed or workload identity.
    pub client_id: Option<String>,
    /// A PEM file with a root certificate that is trusted in addition to the system's.
    pub ca_certificate: Option<PathBuf>,
}

/// The identity of a process: that of the cloud, or that of the coordination if the cloud is not Azure. None if neither
/// is Azure.
#[must_use]
pub fn identity(coordination: Option<&AzureCoordination>, cloud: Option<&AzureCloud>) -> Option<Identity> {
    cloud.map(AzureCloud::identity).or_else(|| coordination.map(AzureCoordination::identity))
}
