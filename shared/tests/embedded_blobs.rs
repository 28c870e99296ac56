//! The directory cloud: the suites of its ports, and what only it promises.

use std::sync::Arc;

use goldfleet_shared::conformance;
use goldfleet_shared::embedded::blob_store::DirectoryBlobs;
use goldfleet_shared::embedded::image_plane::DirectoryImages;
use goldfleet_shared::model::ids::SubscriptionId;
use goldfleet_shared::model::store::Container;
use goldfleet_shared::ports::blob_store::BlobStore;
use goldfleet_shared::ports::clock::SystemClock;
use tempfile::TempDir;

fn container() -> Container {
    Container { account: "stage0001".parse().unwrap(), container: "golden".parse().unwrap() }
}

fn blobs_in(root: &TempDir) -> DirectoryBlobs {
    DirectoryBlobs::new(root.path().to_owned(), Arc::new(SystemClock))
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_conform() {
    let root = TempDir::new().unwrap();
    conformance::blob_store::all(&blobs_in(&root).with_list_page(2), &container()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_conform() {
    let root = TempDir::new().unwrap();
    let blobs = blobs_in(&root);
    blobs.ensure_container(&container()).await.unwrap();
    let site = conformance::image_plane::Site {
        subscription: SubscriptionId::numbered(1),
        resource_group: "images".parse().unwrap(),
        region: "westeurope".parse().unwrap(),
        container: container(),
    };
    conformance::image_plane::all(&DirectoryImages::new(root.path().to_owned()), &blobs, &site).await;
}
