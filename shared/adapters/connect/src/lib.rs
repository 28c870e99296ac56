//! Opens the adapters that the configuration names. No other place selects adapters.

use std::sync::Arc;
use std::time::Duration;

use goldfleet_azure::{
    AzureBlobs, AzureDiskPages, AzureInspector, AzureJobTable, AzureProviders, AzureQueue, AzureResources,
    ConnectionError, ResourceManager,
};
use goldfleet_azure_settings::{AzureCloud, AzureCoordination, Identity};
use goldfleet_config::targets::TargetsFile;
use goldfleet_config::{Cloud, Config, Coordination, ModelledCloud, Source};
use goldfleet_embedded::{
    Database, DirectoryBlobs, DirectoryResources, LockTimeouts, ProcessLocks, SqliteJobTable, SqliteQueue,
};
use goldfleet_modelled::{LimitMode, Model, ModelledBlobs, ModelledResources};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::BlobStore;
use goldfleet_ports::clock::{Clock, LONGEST_WAIT, SystemClock};
use goldfleet_ports::disk_access::DiskAccess;
use goldfleet_ports::disk_pages::DiskPages;
use goldfleet_ports::error::PortError;
use goldfleet_ports::inspector::Inspector;
use goldfleet_ports::job_table::JobTable;
use goldfleet_ports::linked_put::LinkedPut;
use goldfleet_ports::liveness::{Liveness, Undetected};
use goldfleet_ports::providers::Providers;
use goldfleet_ports::queue::Queue;
use goldfleet_ports::records::Records;
use goldfleet_ports::resource_locks::ResourceLocks;
use goldfleet_ports::resources::ResourceService;
use goldfleet_ports::timeout::TimeoutPolicy;
use goldfleet_rates::{Rates, RatesError};

pub use goldfleet_azure::Connection;

/// The format version of the coordination file.
pub const DATABASE_FORMAT: i64 = Database::FORMAT_VERSION;

/// The reason why the configured adapters cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The section of the configuration selects Azure, and [`open_with_connection`] received no connection.
    #[error("[{0}] backend = \"azure\" needs a connection to Azure")]
    MissingConnection(&'static str),
    /// No connection to Azure can be opened with this configuration.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The rates of the modelled cloud are not usable.
    #[error(transparent)]
    Rates(#[from] RatesError),
    /// A backend refused the request or cannot be reached.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl BackendError {
    /// The exit code of a program that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::MissingConnection(_) | Self::Connection(_) | Self::Rates(_) => 2,
            // The configuration names something that is not usable.
            Self::Port(error) if error.is_set_up_fault() => 2,
            Self::Port(_) => 3,
        }
    }
}

/// The ports that `[coordination]` selects.
struct CoordinationPorts {
    queue: Arc<dyn Queue>,
    table: Arc<dyn JobTable>,
    records: Arc<dyn Records>,
    liveness: Arc<dyn Liveness>,
}

impl CoordinationPorts {
    /// The ports of a coordination in which one adapter has the job table and the records.
    fn new(
        queue: impl Queue + 'static,
        table: impl JobTable + Records + 'static,
        liveness: impl Liveness + 'static,
    ) -> Self {
        let table = Arc::new(table);
        Self { queue: Arc::new(queue), table: table.clone(), records: table, liveness: Arc::new(liveness) }
    }
}

/// The ports that `[cloud]` selects.
struct CloudPorts {
    blobs: Arc<dyn BlobStore>,
    resources: Arc<dyn ResourceService>,
    locks: Arc<dyn ResourceLocks>,
    disk_access: Arc<dyn DiskAccess>,
    disk_pages: Arc<dyn DiskPages>,
}

impl CloudPorts {
    /// The ports of a cloud in which one adapter has the resources, their locks and the access to disks.
    fn new(
        blobs: Arc<impl BlobStore + 'static>,
        resources: Arc<impl ResourceService + ResourceLocks + DiskAccess + 'static>,
        disk_pages: Arc<impl DiskPages + 'static>,
    ) -> Self {
        Self { blobs, resources: resources.clone(), locks: resources.clone(), disk_access: resources, disk_pages }
    }
}

/// Opens the configured adapters with the clock of the machine.
///
/// # Errors
/// Returns a [`BackendError`] if one of them cannot be opened.
pub fn open(config: &Config) -> Result<Ports, BackendError> {
    let connection = connect(config)?;
    open_with_connection(config, connection.as_ref())
}

/// Opens the connection to Azure. Returns None if neither coordination nor cloud is Azure.
///
/// # Errors
/// As [`open`].
pub fn connect(config: &Config) -> Result<Option<Connection>, BackendError> {
    Ok(config.identity().map(|identity| connect_as(config, &identity)).transpose()?)
}

fn connect_as(config: &Config, identity: &Identity) -> Result<Connection, ConnectionError> {
    let timeouts = TimeoutPolicy { max_retry_after: config.worker.max_retry_after.get(), ..TimeoutPolicy::default() };
    Ok(Connection::open(identity, timeouts)?.with_tenants(&config.tenants))
}

/// Opens the configured adapters over an existing connection to Azure. The connection is required if coordination or
/// cloud is Azure.
///
/// # Errors
/// As [`open`].
pub fn open_with_connection(config: &Config, connection: Option<&Connection>) -> Result<Ports, BackendError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let CoordinationPorts { queue, table, records, liveness } = match (&config.coordination, connection) {
        (Coordination::Azure(azure), Some(connection)) => azure_coordination(config, azure, connection)?,
        (Coordination::Azure(_), None) => return Err(BackendError::MissingConnection("coordination")),
        (Coordination::Embedded(embedded), _) => {
            let timeouts = LockTimeouts { stopped: config.worker.lease.get(), ..LockTimeouts::default() };
            let database = Database::open_with(&embedded.path, timeouts)?;
            let worker = &config.worker;
            let longest = LONGEST_WAIT.max(worker.retry_cap.get()).max(worker.max_retry_after.get());
            let queue = SqliteQueue::new(Arc::clone(&database), Arc::clone(&clock)).with_longest_wait(longest);
            let locks = ProcessLocks::new(Arc::clone(&database), Arc::clone(&clock));
            CoordinationPorts::new(queue, SqliteJobTable::new(database), locks)
        }
    };
    let CloudPorts { blobs, resources, locks, disk_access, disk_pages } = match (&config.cloud, connection) {
        (Cloud::Azure(azure), Some(connection)) => azure_cloud(azure, connection)?,
        (Cloud::Azure(_), None) => return Err(BackendError::MissingConnection("cloud")),
        (Cloud::Directory(directory), _) => {
            let root = directory.root.clone();
            let blobs = DirectoryBlobs::new(root.clone(), Arc::clone(&clock));
            let resources = DirectoryResources::new(root, Arc::clone(&clock)).with_tenants(&config.tenants);
            let resources = Arc::new(resources);
            CloudPorts::new(Arc::new(blobs), Arc::clone(&resources), resources)
        }
        (Cloud::Modelled(modelled), _) => modelled_cloud(config, modelled, &clock)?,
    };
    Ok(Ports {
        queue,
        table,
        records,
        blobs,
        resources,
        locks,
        disk_access,
        disk_pages,
        liveness,
        clock,
        longest_wait: Duration::MAX,
    })
}

/// Opens the inspector of the configured cloud for `goldfleet doctor`. Returns None for clouds without an inspector.
///
/// # Errors
/// As [`open`].
pub fn open_inspector(config: &Config) -> Result<Option<Arc<dyn Inspector>>, BackendError> {
    let (Some(azure), Some(identity)) = (config.azure_cloud(), config.identity()) else { return Ok(None) };
    let connection = connect_as(config, &identity)?;
    let arm = ResourceManager::new(&connection, &azure.resource_manager())?;
    let blobs = AzureBlobs::new(&connection, azure);
    Ok(Some(Arc::new(AzureInspector::new(&connection, arm, blobs))))
}

/// Opens the registrations of subscriptions for resource providers. Returns None for clouds without them.
///
/// # Errors
/// As [`open`].
pub fn open_providers(config: &Config) -> Result<Option<Arc<dyn Providers>>, BackendError> {
    let (Some(azure), Some(identity)) = (config.azure_cloud(), config.identity()) else { return Ok(None) };
    let connection = connect_as(config, &identity)?;
    Ok(Some(Arc::new(AzureProviders::new(ResourceManager::new(&connection, &azure.resource_manager())?))))
}

/// Opens single writes to the contents of disks, for the probe. Returns None for clouds without them.
///
/// # Errors
/// As [`open`].
pub fn open_disk_pages(config: &Config) -> Result<Option<Arc<dyn DiskPages>>, BackendError> {
    let (Some(azure), Some(identity)) = (config.azure_cloud(), config.identity()) else { return Ok(None) };
    let connection = connect_as(config, &identity)?;
    let arm = ResourceManager::new(&connection, &azure.resource_manager())?;
    Ok(Some(Arc::new(AzureDiskPages::new(AzureResources::new(arm, azure), AzureBlobs::new(&connection, azure)))))
}

/// Opens requests with tokens of two tenants, for the probe. Returns None for clouds without them.
///
/// # Errors
/// As [`open`].
pub fn open_linked_put(config: &Config) -> Result<Option<Arc<dyn LinkedPut>>, BackendError> {
    let (Some(azure), Some(identity)) = (config.azure_cloud(), config.identity()) else { return Ok(None) };
    let connection = connect_as(config, &identity)?;
    Ok(Some(Arc::new(AzureResources::new(ResourceManager::new(&connection, &azure.resource_manager())?, azure))))
}

fn azure_coordination(
    config: &Config,
    azure: &AzureCoordination,
    connection: &Connection,
) -> Result<CoordinationPorts, BackendError> {
    let environment = connection.identity().environment;
    let account = &config.source.account;
    let queue = AzureQueue::new(connection, &azure.queues_of(account, environment), &azure.prefix)?;
    let table = AzureJobTable::new(connection, &azure.tables_of(account, environment), &azure.prefix)?;
    Ok(CoordinationPorts::new(queue, table, Undetected))
}

fn azure_cloud(azure: &AzureCloud, connection: &Connection) -> Result<CloudPorts, BackendError> {
    let arm = ResourceManager::new(connection, &azure.resource_manager())?;
    let blobs = Arc::new(AzureBlobs::new(connection, azure));
    let resources = Arc::new(AzureResources::new(arm, azure));
    let pages = AzureDiskPages::new(Arc::clone(&resources), Arc::clone(&blobs));
    Ok(CloudPorts::new(blobs, resources, Arc::new(pages)))
}

/// A modelled cloud of this process. It starts empty and is lost when the process ends.
fn modelled_cloud(
    config: &Config,
    modelled: &ModelledCloud,
    clock: &Arc<dyn Clock>,
) -> Result<CloudPorts, BackendError> {
    let pace = LimitMode::Limited(Box::new(Rates::load(config.plan.rates.as_deref())?));
    let model = Model::new(pace, Arc::clone(clock), &config.source.region, modelled.seed.into());
    // Without targets there are no accounts to place. A command that needs targets reports the error in the file.
    let targets = TargetsFile::load(&config.targets.file).unwrap_or_default();
    place_fleet(&model, &config.source, &targets);
    let resources = Arc::new(ModelledResources::new(Arc::clone(&model)));
    Ok(CloudPorts::new(Arc::new(ModelledBlobs::new(model)), Arc::clone(&resources), resources))
}

/// Sets the region and the subscription of the accounts of a fleet.
pub fn place_fleet(model: &Model, source: &Source, targets: &TargetsFile) {
    model.place_account(&source.account, &source.region, Some(source.subscription));
    for store in &targets.stores {
        model.place_account(&store.account, &store.region, None);
    }
    for target in &targets.targets {
        model.place_account(&target.account, &target.region, Some(target.subscription));
    }
}
