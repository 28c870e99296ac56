//! Rules that no conformance suite covers: placed accounts, chunks without bytes, limits files.

use std::sync::Arc;

use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::image::StorageType;
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, Generation, Manifest, Md5Sum, OsType, Run};
use goldfleet_model::resource::{ImageProperties, Properties, ResourceBody, ResourceId, ResourceType};
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::{BlobStore, SourceRange};
use goldfleet_ports::conformance::clock::ManualClock;
use goldfleet_ports::conformance::resources::put_smallest_vhd;
use goldfleet_ports::resources::{PutMode, PutRequest, ResourceService};
use jiff::Timestamp;

use crate::{LimitMode, Model, ModelledBlobs, ModelledResources};

fn model() -> Arc<Model> {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    Model::new(LimitMode::Unlimited, clock, &"westeurope".parse().unwrap(), 1)
}

fn container() -> Container {
    serde_json::from_str(r#"{ "account": "stage", "container": "vhds" }"#).unwrap()
}

#[tokio::test]
async fn image_needs_vhd_in_same_subscription_and_region() {
    let model = model();
    let container = container();
    model.place_account(&container.account, &"eastus".parse().unwrap(), Some(SubscriptionId::nth_for_tests(1)));
    let blobs = ModelledBlobs::new(Arc::clone(&model));
    blobs.ensure_container(&container).await.unwrap();
    let vhd = container.blob("a.vhd");
    put_smallest_vhd(&blobs, &vhd).await;
    let resources = ModelledResources::new(Arc::clone(&model));
    for (subscription, region, code) in [
        (1, "eastus", None),
        (2, "eastus", Some("vhd-in-other-subscription")),
        (1, "westus", Some("vhd-in-other-region")),
    ] {
        let url = resources.blob_url(&vhd);
        let image = ImageProperties::of_vhd(url, OsType::Linux, Generation::V2, StorageType::default());
        let request = PutRequest {
            id: ResourceId {
                subscription: SubscriptionId::nth_for_tests(subscription),
                resource_group: "images".parse().unwrap(),
                resource_type: ResourceType::Image,
                name: format!("{region}-{subscription}").parse().unwrap(),
            },
            tenant: None,
            mode: PutMode::CreateOrUpdate,
            body: ResourceBody::new(region.parse().unwrap(), Properties::Image(image)),
        };
        assert_eq!(resources.put(&request).await.err().map(|error| error.code).as_deref(), code);
    }
}

#[tokio::test]
async fn checksum_only_chunks_are_copied_by_run() {
    let model = model();
    let blobs = ModelledBlobs::new(Arc::clone(&model));
    let store = container();
    let md5 = Md5Sum::of(b"nobody has the bytes");
    let runs = [(0, 4096, 0, 11), (8192, 512, 4096, 22)].map(|(offset, length, at, crc64)| Run {
        offset,
        length,
        at,
        crc64,
        md5,
    });
    let chunk = ChunkEntry { hash: ChunkHash::of(b"x"), length: 4608, runs: runs.to_vec() };
    model.put_chunks(&store, [&chunk]).unwrap();
    let footer = goldfleet_disk::Footer::fixed_for(1 << 20, 1).to_bytes();
    let manifest = Manifest { size: 1 << 20, footer, chunks: vec![chunk.clone()] };
    let vhd = store.blob("a.vhd");
    blobs.create_page_blob(&vhd, manifest.size + 512, &Default::default()).await.unwrap();
    let fence = blobs.take_fence(&vhd).await.unwrap();
    let blob = store.chunk(&chunk.hash);
    let source =
        |at: u64, length: u64, crc64| SourceRange { blob: blob.clone(), range: at..at + length, crc64, md5: None };
    blobs.put_pages_from(&vhd, fence, 0, &source(0, 4096, 11)).await.unwrap();
    let wrong = blobs.put_pages_from(&vhd, fence, 8192, &source(4096, 512, 23)).await.unwrap_err();
    assert_eq!(wrong.code, "source-corrupt");
    let part = blobs.put_pages_from(&vhd, fence, 8192, &source(0, 512, 11)).await.unwrap_err();
    assert_eq!(part.code, "bytes-not-kept");
    let checksum = goldfleet_model::checksum::crc64(&footer);
    blobs.put_pages(&vhd, fence, manifest.size, footer.to_vec().into(), checksum).await.unwrap();
    assert!(!model.is_whole(&vhd, &manifest), "a run is missing");
    blobs.put_pages_from(&vhd, fence, 8192, &source(4096, 512, 22)).await.unwrap();
    assert!(model.is_whole(&vhd, &manifest));

    // The checksum of the whole chunk is computed from those of its runs.
    let whole = SourceRange { blob: blob.clone(), range: 0..4608, crc64: chunk.crc64(), md5: None };
    blobs.put_blob_from(&store.blob("copy"), &whole).await.unwrap();
    assert_eq!(blobs.get(&blob, None).await.unwrap_err().code, "bytes-not-kept");
}
