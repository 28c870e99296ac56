//! The storage adapters against Microsoft's emulator.
#![allow(clippy::unwrap_used, missing_docs)]

use goldfleet_shared::azure::{AzureBlobs, AzureJobTable, AzureQueue, Connection};
use goldfleet_shared::config::{AzureCloud, Credential, Endpoint, Identity};
use goldfleet_shared::conformance::{self, clock::RealTime};
use goldfleet_shared::model::store::Container;
use goldfleet_tests::azure::azurite::Azurite;
use goldfleet_tests::azure::proxy::Proxy;

fn connection(azurite: &Azurite) -> Connection {
    let identity = Identity {
        credential: Credential::Emulator,
        ca_certificate: Some(azurite.certificates().root.clone()),
        ..Identity::default()
    };
    Connection::open(&identity).unwrap()
}

fn of_account(endpoint: &str, account: &str) -> String {
    endpoint.parse::<Endpoint>().unwrap().for_account(&account.parse().unwrap())
}

#[tokio::test]
async fn the_queue_conforms() {
    let azurite = Azurite::start(&["goldsource"]);
    let endpoint = of_account(&azurite.queues(), "goldsource");
    let queue = AzureQueue::new(&connection(&azurite), &endpoint, &"fleet".parse().unwrap()).unwrap();
    conformance::queue::all(&queue, &RealTime).await;
}

#[tokio::test]
async fn the_job_table_conforms() {
    let azurite = Azurite::start(&["goldsource"]);
    let endpoint = of_account(&azurite.tables(), "goldsource");
    let table = AzureJobTable::new(&connection(&azurite), &endpoint, &"fleet".parse().unwrap()).unwrap();
    conformance::job_table::all(&table).await;
}

#[tokio::test]
async fn the_blob_store_conforms() {
    let azurite = Azurite::start(&["goldsource"]);
    let proxy = Proxy::start(
        &azurite.blob_authority(),
        azurite.certificates().server_config(),
        azurite.certificates().client(),
    )
    .await
    .unwrap();
    let cloud = AzureCloud {
        blob_endpoint: Some(format!("{}/{{account}}", proxy.endpoint()).parse().unwrap()),
        ..AzureCloud::default()
    };
    let blobs = AzureBlobs::new(&connection(&azurite), &cloud);
    let container = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
    conformance::blob_store::all(&blobs, &container).await;
}
