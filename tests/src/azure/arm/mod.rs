//! A strict test double of Azure Resource Manager over HTTPS.
//!
//! It supports what goldfleet requests from Resource Manager: managed images and virtual machines (Microsoft.Compute
//! 2025-04-01), disks and snapshots (2025-01-02), galleries (2024-03-03), storage accounts (2025-01-01), resource
//! groups and providers (2025-04-01), subscriptions and their regions (2022-12-01), management locks (2020-05-01),
//! permissions and role assignments (2022-04-01). Comments give the source of each rule of Azure: 'specification' is
//! Microsoft's published OpenAPI (`azure-rest-api-specs`), and 'seen' is a response of Azure that somebody published.
//! Anything else is marked as a guess.
//!
//! The double is a server, so that workers in other processes can be tested against it. They need its
//! [`endpoint`](FakeResourceManager::endpoint), the root of its certificate and a [`token`].
//!
//! ```no_run
//! # async fn example(tls: std::sync::Arc<rustls::ServerConfig>) -> anyhow::Result<()> {
//! use goldfleet_tests::azure::arm::{Account, FakeResourceManager, TenantState};
//!
//! let (tenant, subscription) = ("11111111-1111-1111-1111-111111111111", "00000000-0000-0000-0000-000000000001");
//! let world = TenantState::new()
//!     .subscription(tenant, subscription)
//!     .group(subscription, "images", "westeurope")
//!     .account(Account::new(subscription, "images", "stage1", "westeurope"));
//! let manager = FakeResourceManager::start(tls, world).await?;
//! println!("{}", manager.endpoint());
//! # Ok(()) }
//! ```

mod access;
pub mod behaviours;
mod blobs;
mod body;
mod clock;
mod copies;
mod disk_access;
mod disk_data;
mod disk_pages;
mod disk_put;
mod disks;
mod faults;
mod galleries;
mod groups;
mod image_checks;
mod images;
mod listen;
mod locks;
mod log;
mod machines;
mod operations;
mod pipeline;
mod providers;
mod put;
mod replication;
mod resources;
mod response;
mod restore_points;
mod route;
mod schema;
mod shared;
mod state;
mod storage;
mod subscriptions;
mod throttle;
pub mod token;
mod version_content;

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use access::Authorization;
pub use blobs::{BlobChecks, BlobInfo, Blobs};
pub use clock::Clock;
pub use disk_data::{CONTENT, DiskData};
pub use disks::{Disk, DiskKind};
pub use faults::{Fault, Faults, Matches};
pub use galleries::{GalleryItem, GalleryLevel};
pub use images::{Image, ImageState};
pub use log::{Accepted, Log};
pub use machines::Machine;
pub use operations::{Collision, Links, LongRunning, OperationEnd};
pub use replication::{Replica, Replication};
pub use resources::{Account, Group, Lock, LockLevel, Policy, Region, Role, RoleAssignment, Subscription};
pub use shared::Shared;
pub use state::TenantState;
pub use throttle::{Limit, Limits};

/// A running double. Dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct FakeResourceManager {
    endpoint: String,
    core: Arc<Core>,
    stop: CancellationToken,
}

/// The state that all connections share.
#[derive(Debug)]
struct Core {
    /// The address of the double, without a trailing slash.
    endpoint: String,
    world: Shared<TenantState>,
    faults: Faults,
}

impl FakeResourceManager {
    /// Starts the double on a free port of 127.0.0.1. The certificate must be valid for that address.
    ///
    /// # Errors
    /// If no port is available.
    pub async fn start(tls: Arc<rustls::ServerConfig>, world: TenantState) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the resource manager")?;
        let endpoint = format!("https://{}", listener.local_addr().context("a port without an address")?);
        let core = Core { endpoint: endpoint.clone(), world: Shared::new(world), faults: Faults::default() };
        let (core, stop) = (Arc::new(core), CancellationToken::new());
        tokio::spawn(listen::listen(listener, tls, Arc::clone(&core), stop.clone()));
        Ok(Self { endpoint, core, stop })
    }

    /// The address to configure as Resource Manager's, without a trailing slash. Tokens may have it as their audience.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The state of the tenant, which a test can read and change while the double runs.
    #[must_use]
    pub fn world(&self) -> &Shared<TenantState> {
        &self.core.world
    }

    /// The faults that have not happened yet.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.core.faults
    }

    /// The images that exist now, as a GET returns them.
    #[must_use]
    pub fn images(&self) -> Vec<Value> {
        self.core.world.write(|world| {
            world.settle();
            world.images.iter().map(Image::json).collect()
        })
    }

    /// The disks and snapshots that exist now, as a GET returns them.
    #[must_use]
    pub fn disks(&self) -> Vec<Value> {
        self.core.world.write(|world| {
            world.settle();
            world.disks.iter().map(Disk::json).collect()
        })
    }

    /// The galleries, definitions and versions that exist now, as a GET without `$expand` returns them.
    #[must_use]
    pub fn galleries(&self) -> Vec<Value> {
        self.core.world.write(|world| {
            world.settle();
            world.galleries.iter().map(|item| item.json(world)).collect()
        })
    }

    /// The requests so far, and which of them were accepted.
    #[must_use]
    pub fn log(&self) -> Log {
        self.core.world.read(|world| world.log.clone())
    }
}

impl Drop for FakeResourceManager {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
