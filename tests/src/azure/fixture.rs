//! Azure on this machine for a small fleet: storage accounts, Resource Manager, and configurations for them.

use std::time::Duration;

use goldfleet_azure::{
    AzureBlobs, AzureInspector, AzureResources, Connection, ResourceManager, SasTimes, TimeoutClient,
};
use goldfleet_azure_settings::{AzureCloud, Checksum};
use goldfleet_disk::{Footer, GoldenSpec};
use goldfleet_model::manifest::Generation;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::timeout::TimeoutPolicy;
use tokio::runtime::Runtime;

use super::arm::{Account, BlobInfo, Blobs, FakeResourceManager, Role, RoleAssignment, TenantState};
use super::azurite::Azurite;
use super::proxy::{Proxy, client};
use crate::fleet::InProcessFleet;
use crate::process_fixture::{self, ProcessFixture};

/// The tenant of the emulator's tokens.
pub const TENANT: &str = "00000000-0000-0000-0000-000000000000";

/// The principal in the emulator's tokens.
pub const PRINCIPAL: &str = "00000000-0000-0000-0000-00000000f1ee";

const MIB: u64 = 1 << 20;

/// Where goldfleet keeps queues and tables, or blobs and images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In local directories and files.
    Local,
    /// In Azure, or rather its emulator and double.
    Azure,
}

/// The emulator, the proxy in front of it, and the double of Resource Manager, with a source account and a staging
/// account for each target. They run on separate threads. Dropping this value stops them.
pub struct AzureFixture {
    /// Resource Manager.
    pub manager: FakeResourceManager,
    /// The proxy in front of the blobs.
    pub proxy: Proxy,
    /// The emulator.
    pub azurite: Azurite,
    subscriptions: u32,
    regions: Vec<String>,
    runtime: Runtime,
}

impl AzureFixture {
    /// Subscriptions 1 to `subscriptions`, each with a target in each of `regions`.
    #[must_use]
    pub fn start(subscriptions: u32, regions: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let targets: Vec<(u32, &str)> =
            (1..=subscriptions).flat_map(|n| regions.iter().map(move |region| (n, *region))).collect();
        let mut accounts = vec!["goldsource".to_owned()];
        accounts.extend(targets.iter().map(|(n, region)| staging(*n, region)));
        let azurite = Azurite::start(&accounts.iter().map(String::as_str).collect::<Vec<_>>());
        let certificates = azurite.certificates();
        let root = reqwest::Certificate::from_pem(&std::fs::read(&certificates.root).unwrap()).unwrap();
        let tls = certificates.server_config();
        let authority = azurite.blob_authority();
        let proxy = runtime.block_on(Proxy::start(&authority, tls.clone(), client(root).unwrap())).unwrap();
        let mut world =
            TenantState::new().subscription(TENANT, &subscription(0)).group(&subscription(0), "golden", "westeurope");
        let endpoint = proxy.endpoint();
        let account = |n: u32, group: &str, name: &str, region: &str| {
            Account::new(&subscription(n), group, name, region).at(&format!("{endpoint}/{name}"))
        };
        world = world.account(account(0, "golden", "goldsource", "westeurope"));
        for n in 1..=subscriptions {
            world = world.subscription(TENANT, &subscription(n)).group(&subscription(n), "images", "westeurope");
        }
        for (n, region) in &targets {
            world = world.account(account(*n, "images", &staging(*n, region), region));
        }
        world = world.role(RoleAssignment::new(PRINCIPAL, "/", role()));
        world.blobs = blobs(&azurite, &endpoint);
        let manager = runtime.block_on(FakeResourceManager::start(tls, world)).unwrap();
        let regions = regions.iter().map(ToString::to_string).collect();
        Self { manager, proxy, azurite, subscriptions, regions, runtime }
    }

    /// The number of targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.subscriptions as usize * self.regions.len()
    }

    /// A fleet in this process, with local queues and tables, and with blobs and images in this fixture.
    #[must_use]
    pub fn fleet(&self, golden: &GoldenSpec) -> InProcessFleet {
        let regions: Vec<&str> = self.regions.iter().map(String::as_str).collect();
        let config = self.config(Backend::Local, Backend::Azure);
        InProcessFleet::with(&config, &process_fixture::targets(self.subscriptions, &regions), golden)
    }

    /// A directory with a configuration for these backends, the targets, and a golden VHD of `data` bytes.
    #[must_use]
    pub fn process_fixture(&self, coordination: Backend, cloud: Backend, data: u64) -> ProcessFixture {
        let regions: Vec<&str> = self.regions.iter().map(String::as_str).collect();
        let targets = process_fixture::targets(self.subscriptions, &regions);
        let golden = GoldenSpec::spread(64 * MIB, Generation::V2, data, 8, 3);
        ProcessFixture::new(&self.config(coordination, cloud), &targets, &golden)
    }

    /// A configuration for these backends.
    #[must_use]
    pub fn config(&self, coordination: Backend, cloud: Backend) -> String {
        let identity = format!("credential = \"emulator\"\nca_certificate = {:?}\n", self.azurite.certificates().root);
        let mut config = String::from(
            "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\n\
             account = \"goldsource\"\ncontainer = \"golden\"\n\
             [worker]\nlease = \"5s\"\nretry_base = \"20ms\"\nretry_cap = \"2s\"\nconcurrency = 8\npoll = \"200ms\"\n\
             clone_and_patch = true\n\
             [dispatch]\nsweep = \"500ms\"\n",
        );
        config += match coordination {
            Backend::Local => "[coordination]\nbackend = \"embedded\"\n",
            Backend::Azure => "[coordination]\nbackend = \"azure\"\nprefix = \"fleet\"\n",
        };
        if coordination == Backend::Azure {
            let (queues, tables) = (self.azurite.queues(), self.azurite.tables());
            config += &format!("queue_endpoint = {queues:?}\ntable_endpoint = {tables:?}\n");
            if cloud == Backend::Local {
                config += &identity;
            }
        }
        config += match cloud {
            Backend::Local => "[cloud]\nbackend = \"directory\"\n",
            Backend::Azure => "[cloud]\nbackend = \"azure\"\n",
        };
        if cloud == Backend::Azure {
            let blobs = format!("{}/{{account}}", self.proxy.endpoint());
            let manager = self.manager.endpoint();
            config += &format!("blob_endpoint = {blobs:?}\nresource_manager_endpoint = {manager:?}\n{identity}");
        }
        config
    }

    /// The blob store, for a client whose SAS have other validity times.
    #[must_use]
    pub fn blobs_with(&self, times: SasTimes) -> AzureBlobs {
        self.blobs().with_sas_times(times)
    }

    /// The blob store, for a client with other timeouts.
    #[must_use]
    pub fn blobs_with_timeouts(&self, timeouts: TimeoutPolicy) -> AzureBlobs {
        let root = std::fs::read(&self.azurite.certificates().root).unwrap();
        let root = reqwest::Certificate::from_pem(&root).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        let client = TimeoutClient::new(client, timeouts);
        let (connection, cloud) = connection_and_endpoint(&self.azurite, &self.proxy.endpoint());
        AzureBlobs::new(&Connection::with_client(std::sync::Arc::new(client), connection.identity()), &cloud)
    }

    /// The blob store, without the proxy.
    #[must_use]
    pub fn blobs(&self) -> AzureBlobs {
        adapter(&self.azurite, &self.proxy.endpoint())
    }

    /// The blob store without the proxy, with `checksum` for the verification of uploads.
    #[must_use]
    pub fn blobs_checked_by(&self, checksum: Checksum) -> AzureBlobs {
        let (connection, cloud) = connection_and_endpoint(&self.azurite, &self.proxy.endpoint());
        AzureBlobs::new(&connection, &AzureCloud { checksum: Some(checksum), ..cloud })
    }

    /// The resources, as a process accesses them.
    #[must_use]
    pub fn resources(&self) -> AzureResources {
        let (connection, cloud) = connection_and_endpoint(&self.azurite, &self.proxy.endpoint());
        AzureResources::new(ResourceManager::new(&connection, &self.manager.endpoint()).unwrap(), &cloud)
    }

    /// The inspector, as `doctor` uses it.
    #[must_use]
    pub fn inspector(&self) -> AzureInspector {
        let (connection, cloud) = connection_and_endpoint(&self.azurite, &self.proxy.endpoint());
        let arm = ResourceManager::new(&connection, &self.manager.endpoint()).unwrap();
        AzureInspector::new(&connection, arm, AzureBlobs::new(&connection, &cloud))
    }

    /// Runs a future on the threads of the fixture.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The VHD of version 1 of the image `golden` at a target.
    #[must_use]
    pub fn vhd(&self, subscription: u32, region: &str) -> BlobAddress {
        let account = staging(subscription, region).parse().unwrap();
        Container { account, container: "vhds".parse().unwrap() }.blob("golden__1.vhd")
    }

    /// Whether a VHD has exactly these bytes. Only pages with data are read: the emulator needs a second for the zeros
    /// of a disk.
    ///
    /// # Errors
    /// If a request fails.
    pub async fn holds(&self, vhd: &BlobAddress, expected: &[u8]) -> PortResult<bool> {
        let blobs = self.blobs();
        let length = blobs.properties(vhd).await?.map(|properties| properties.length);
        if length != Some(expected.len() as u64) {
            return Ok(false);
        }
        let mut end = 0;
        for range in blobs.page_ranges(vhd).await? {
            let bytes = blobs.get(vhd, Some(range.clone())).await?;
            let (from, to) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            if !is_zero(&expected[end..from]) || bytes != expected[from..to] {
                return Ok(false);
            }
            end = to;
        }
        Ok(is_zero(&expected[end..]))
    }

    /// Asserts that every target has its image, created from a VHD that is identical to the golden one.
    pub fn assert_everywhere(&self, fixture: &ProcessFixture) {
        let golden = std::fs::read(fixture.path("golden.vhd")).unwrap();
        for n in 1..=self.subscriptions {
            for region in &self.regions {
                let vhd = self.vhd(n, region);
                assert!(self.run(self.holds(&vhd, &golden)).unwrap(), "{vhd} is not the golden VHD");
            }
        }
        let images = self.manager.images();
        assert_eq!(images.len(), self.targets(), "{images:#?}");
        for image in &images {
            assert_eq!(image["properties"]["provisioningState"], "Succeeded", "{image:#}");
            assert_eq!(image["tags"]["goldfleet-image"], "golden", "{image:#}");
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}

/// Comparison with this is fast also if the program is not optimised.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// The permissions that infra/bicep grants to a fleet, as one role.
fn role() -> Role {
    const ACTIONS: [&str; 6] = [
        "*/read",
        "Microsoft.Compute/images/write",
        "Microsoft.Compute/images/delete",
        "Microsoft.Storage/storageAccounts/listKeys/action",
        "Microsoft.Storage/storageAccounts/blobServices/containers/write",
        "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
    ];
    const ON_DATA: [&str; 1] = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*"];
    Role::custom("55555555-0000-0000-0000-000000000000", &ACTIONS, &ON_DATA)
}

fn subscription(n: u32) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

fn staging(n: u32, region: &str) -> String {
    format!("stage{n}{region}")
}

/// A connection with the emulator's credential, and the endpoint of its blobs.
fn connection_and_endpoint(azurite: &Azurite, endpoint: &str) -> (Connection, AzureCloud) {
    let cloud = AzureCloud {
        blob_endpoint: Some(format!("{endpoint}/{{account}}").parse().unwrap()),
        // As with Azure. Programs that tests start use the default for emulators.
        checksum: Some(Checksum::Crc64),
        ..AzureCloud::default()
    };
    (azurite.connection(), cloud)
}

fn adapter(azurite: &Azurite, endpoint: &str) -> AzureBlobs {
    let (connection, cloud) = connection_and_endpoint(azurite, endpoint);
    AzureBlobs::new(&connection, &cloud)
}

/// Lets Resource Manager inspect the blobs.
fn blobs(azurite: &Azurite, endpoint: &str) -> Blobs {
    let adapter = std::sync::Arc::new(adapter(azurite, endpoint));
    let endpoint = endpoint.to_owned();
    Blobs::new(move |url| {
        let (adapter, endpoint) = (std::sync::Arc::clone(&adapter), endpoint.clone());
        Box::pin(async move { blob_info(&adapter, &endpoint, &url).await.unwrap_or(BlobInfo::MISSING) })
    })
}

async fn blob_info(blobs: &AzureBlobs, endpoint: &str, url: &str) -> Option<BlobInfo> {
    let path = url.strip_prefix(endpoint)?.trim_start_matches('/');
    let mut parts = path.splitn(3, '/');
    let container = Container { account: parts.next()?.parse().ok()?, container: parts.next()?.parse().ok()? };
    let blob = container.blob(parts.next()?);
    let found = tokio::time::timeout(Duration::from_secs(10), blobs.properties(&blob)).await.ok()?.ok()??;
    let is_page_blob = blobs.page_ranges(&blob).await.is_ok();
    let footer = blobs.get(&blob, Some(found.length.checked_sub(512)?..found.length)).await.ok()?;
    let footer_ok = footer[..].try_into().is_ok_and(|footer| Footer::parse(footer).is_ok());
    Some(BlobInfo { exists: true, length: found.length, is_page_blob, footer_ok })
}
