//! The settings of the Azure adapters as plain data: which cloud, which endpoints, and which identity.
//!
//! The configuration reads them and the adapters are opened with them, so neither depends on the other.

mod values;

use std::path::PathBuf;

use goldfleet_model::ids::AccountName;
use serde::{Deserialize, Serialize};

pub use values::{Endpoint, Prefix};

/// `[coordination]` with `backend = "azure"`: queues and tables of the source account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureCoordination {
    /// The Queue service; by default that of `{account}` in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_endpoint: Option<Endpoint>,
    /// The Table service, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_endpoint: Option<Endpoint>,
    /// What the names of queues and tables begin with, so that several fleets can share an account.
    pub prefix: Prefix,
    /// Which of Azure's clouds; here only where `[cloud]` is not Azure, as the next three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// As in `[cloud]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// As in `[cloud]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// As in `[cloud]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<PathBuf>,
}

impl AzureCoordination {
    /// Who goldfleet is, as far as it is said here.
    fn identity(&self) -> Identity {
        Identity {
            environment: self.environment.unwrap_or_default(),
            credential: self.credential.unwrap_or_default(),
            client_id: self.client_id.clone(),
            ca_certificate: self.ca_certificate.clone(),
        }
    }

    /// The Queue service of an account.
    #[must_use]
    pub fn queues_of(&self, account: &AccountName, environment: Environment) -> String {
        service(self.queue_endpoint.as_ref(), "queue", account, environment)
    }

    /// The Table service of an account.
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
    /// Which of Azure's clouds.
    pub environment: Environment,
    /// Resource Manager; by default the environment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_manager_endpoint: Option<Endpoint>,
    /// What follows an account's name in its Blob service's host; by default the environment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_suffix: Option<String>,
    /// The Blob service where accounts have no host of their own; it names `{account}`. It goes before `blob_suffix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_endpoint: Option<Endpoint>,
    /// What the service checks an uploaded blob by; see [`AzureCloud::checksum`] for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// A PEM file with a root certificate to trust besides the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<PathBuf>,
    /// Who goldfleet is to Azure.
    pub credential: Credential,
    /// The client id of a user-assigned managed identity, or of a workload's identity where its variables name another.
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

    /// The Blob service of an account.
    #[must_use]
    pub fn blobs_of(&self, account: &AccountName) -> String {
        match (&self.blob_endpoint, &self.blob_suffix) {
            (Some(endpoint), _) => endpoint.for_account(account),
            (None, Some(suffix)) => format!("https://{account}.{suffix}"),
            (None, None) => service(None, "blob", account, self.environment),
        }
    }

    /// What the service checks an uploaded blob by. Accounts without a host of their own are an emulator's, which computes a
    /// CRC-64 in a script, and takes longer for it than for all the rest of an upload.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        let usual = if self.blob_endpoint.is_some() { Checksum::Md5 } else { Checksum::Crc64 };
        self.checksum.unwrap_or(usual)
    }

    /// Resource Manager.
    #[must_use]
    pub fn resource_manager(&self) -> String {
        match &self.resource_manager_endpoint {
            Some(endpoint) => endpoint.to_string(),
            None => self.environment.resource_manager().to_owned(),
        }
    }
}

/// What a Blob service checks by that a request's body came whole. Source: Put Blob, `x-ms-content-crc64` and `Content-MD5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// CRC-64/NVME, which the manifest has at hand.
    Crc64,
    /// MD5, computed for the request: about one and a half CPU seconds a GiB.
    Md5,
}

/// One of Azure's clouds. Source: Azure's documentation on national clouds and its endpoints.
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
    /// Resource Manager's endpoint, which is also the audience of its tokens.
    #[must_use]
    pub fn resource_manager(self) -> &'static str {
        match self {
            Self::Public => "https://management.azure.com",
            Self::UsGovernment => "https://management.usgovcloudapi.net",
            Self::China => "https://management.chinacloudapi.cn",
        }
    }

    /// What follows an account and a service in the host of a storage endpoint.
    #[must_use]
    pub fn storage_suffix(self) -> &'static str {
        match self {
            Self::Public => "core.windows.net",
            Self::UsGovernment => "core.usgovcloudapi.net",
            Self::China => "core.chinacloudapi.cn",
        }
    }
}

/// Who goldfleet is to Azure. Identifiers and secrets come from the environment that each kind reads, never from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// Environment or workload identity, managed identity, developer tools: the first that is there.
    #[default]
    Default,
    /// The managed identity of the machine.
    ManagedIdentity,
    /// The federated token of a Kubernetes workload.
    WorkloadIdentity,
    /// Whoever is logged in to the Azure command line.
    AzureCli,
    /// A service principal with a secret.
    ClientSecret,
    /// An unsigned token, for emulators on this machine.
    Emulator,
}

/// Who a process is to Azure, in which cloud, and whom it trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Which of Azure's clouds.
    pub environment: Environment,
    /// Who goldfleet is.
    pub credential: Credential,
    /// The client id of a managed or workload identity.
    pub client_id: Option<String>,
    /// A PEM file with a root certificate to trust besides the system's.
    pub ca_certificate: Option<PathBuf>,
}

/// The identity of a process: the cloud's, or where that is not Azure, the coordination's. None where neither is.
#[must_use]
pub fn identity(coordination: Option<&AzureCoordination>, cloud: Option<&AzureCloud>) -> Option<Identity> {
    cloud.map(AzureCloud::identity).or_else(|| coordination.map(AzureCoordination::identity))
}
