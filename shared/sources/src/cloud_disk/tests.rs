//! Access that is renewed, refused and ended, on a service in memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::clock::TokioClock;
use goldfleet_ports::disk_access::{AccessRequest, AccessStatus, DiskAccess, DiskSas};
use goldfleet_ports::disk_content::{DiskContent, access_ended, check_inside_content, check_read, no_difference};
use goldfleet_ports::error::ErrorKind;
use goldfleet_ports::resources::{ChangeStatus, Pending};
use jiff::Timestamp;

use super::*;

/// A service with one disk. It answers with the scripted errors first.
#[derive(Default)]
struct Service(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    content: Vec<u8>,
    /// The valid SAS.
    valid: Vec<String>,
    calls: Vec<&'static str>,
    errors: VecDeque<(&'static str, PortError)>,
    /// Whether begin and end are answered with an operation to poll.
    pending: bool,
}

impl Service {
    fn with(content: Vec<u8>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { content, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn fail(&self, call: &'static str, kind: ErrorKind, times: usize) {
        for _ in 0..times {
            self.inner().errors.push_back((call, PortError::new(kind, format!("{call} fails"))));
        }
    }

    fn call(&self, name: &'static str) -> PortResult<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        inner.calls.push(name);
        match inner.errors.iter().position(|(call, _)| *call == name) {
            Some(at) => Err(inner.errors.remove(at).unwrap().1),
            None => Ok(inner),
        }
    }

    fn count(&self, name: &str) -> usize {
        self.inner().calls.iter().filter(|call| **call == name).count()
    }

    fn grant(inner: &mut Inner) -> AccessStatus {
        let sas = format!("https://md-1.example/abcd?sig=secret{}", inner.calls.len());
        inner.valid.push(sas.clone());
        AccessStatus::Granted(DiskSas::new(sas))
    }
}

#[async_trait]
impl DiskContent for Service {
    async fn layout(&self, sas: &DiskSas) -> PortResult<ContentLayout> {
        let inner = self.call("layout")?;
        if !inner.valid.iter().any(|valid| valid == sas.expose()) {
            return Err(access_ended());
        }
        let length = inner.content.len() as u64;
        ContentLayout::checked("d", length, std::iter::once(0..length).collect())
    }

    async fn changes_since(&self, _: &DiskSas, _: &DiskSas) -> PortResult<Vec<Range<u64>>> {
        Err(no_difference("d", "it has one content"))
    }

    async fn read(&self, sas: &DiskSas, range: Range<u64>) -> PortResult<Bytes> {
        check_read(&range)?;
        let inner = self.call("read")?;
        if !inner.valid.iter().any(|valid| valid == sas.expose()) {
            return Err(access_ended());
        }
        check_inside_content(&range, inner.content.len() as u64)?;
        let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        Ok(Bytes::copy_from_slice(&inner.content[start..end]))
    }
}

fn pending() -> Pending {
    Pending { id: id(), poll: String::new(), retry_after: Duration::from_secs(2) }
}

#[async_trait]
impl DiskAccess for Service {
    async fn begin(&self, request: &AccessRequest) -> PortResult<AccessStatus> {
        assert_eq!(request.duration, Duration::from_secs(3600));
        let mut inner = self.call("begin")?;
        Ok(if inner.pending { AccessStatus::Pending(pending()) } else { Self::grant(&mut inner) })
    }

    async fn poll_begin(&self, _: &Pending) -> PortResult<AccessStatus> {
        Ok(Self::grant(&mut *self.call("poll_begin")?))
    }

    async fn end(&self, _: &ResourceId, _: Option<&str>) -> PortResult<ChangeStatus> {
        let mut inner = self.call("end")?;
        inner.valid.clear();
        Ok(if inner.pending { ChangeStatus::Pending(pending()) } else { ChangeStatus::Done })
    }

    async fn poll_end(&self, _: &Pending) -> PortResult<ChangeStatus> {
        drop(self.call("poll_end")?);
        Ok(ChangeStatus::Done)
    }
}

fn id() -> ResourceId {
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/disks/d"
        .parse()
        .unwrap()
}

fn access(service: &Arc<Service>) -> ContentAccess {
    ContentAccess::new(Arc::clone(service) as _, Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH)), id())
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn sas_is_renewed_after_45_minutes() {
    let service = Service::with(vec![7; 4096]);
    let access = access(&service);
    for (minutes, begins) in [(0, 1), (44, 1), (2, 2), (44, 2), (2, 3)] {
        tokio::time::advance(MINUTE * minutes).await;
        assert_eq!(access.read(512..1024).await.unwrap(), vec![7; 512]);
        assert_eq!(service.count("begin"), begins, "after {minutes} more minutes");
    }
    access.end().await.unwrap();
    assert_eq!(service.count("end"), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_sas_is_replaced() {
    let service = Service::with(vec![7; 4096]);
    let access = access(&service);
    access.layout().await.unwrap();
    service.inner().valid.clear();
    assert_eq!(access.read(0..512).await.unwrap().len(), 512, "another program ended all access");
    assert_eq!(service.count("begin"), 2);
    // A service that accepts no SAS is not asked forever.
    let refusing = Service::with(vec![7; 4096]);
    let access = self::access(&refusing);
    for _ in 0..100 {
        refusing.inner().errors.push_back(("read", access_ended()));
    }
    let refusal = access.read(0..512).await.unwrap_err();
    assert_eq!((refusal.kind, refusing.count("begin")), (ErrorKind::Denied, 4));
    assert!(refusal.message.contains("/disks/d"), "{refusal}");
    assert!(!format!("{refusal:?} {access:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn transient_errors_of_every_call_are_retried() {
    for call in ["begin", "poll_begin", "layout", "read", "end", "poll_end"] {
        let service = Service::with(vec![7; 4096]);
        service.inner().pending = true;
        service.fail(call, ErrorKind::Unavailable, 3);
        let access = access(&service);
        assert_eq!(access.layout().await.unwrap().length, 4096, "{call}");
        assert_eq!(access.read(0..4096).await.unwrap().len(), 4096, "{call}");
        access.end().await.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert!(service.inner().errors.is_empty(), "{call}");
        assert!(service.inner().valid.is_empty(), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn access_ends_whatever_happened_before() {
    // Nothing was requested.
    let service = Service::with(Vec::new());
    access(&service).end().await.unwrap();
    assert!(service.inner().calls.is_empty());
    // The request failed, and may have had its effect.
    let service = Service::with(Vec::new());
    service.fail("begin", ErrorKind::Denied, 1);
    let failed = access(&service);
    failed.layout().await.unwrap_err();
    failed.end().await.unwrap();
    assert_eq!(service.count("end"), 1);
    // The caller was dropped during the request.
    let service = Service::with(Vec::new());
    service.inner().pending = true;
    let dropped = access(&service);
    assert!(tokio::time::timeout(Duration::from_secs(1), dropped.layout()).await.is_err());
    dropped.end().await.unwrap();
    assert_eq!((service.count("end"), service.count("poll_end")), (1, 1));
    // There is no access after the end, and no second end.
    let refusal = dropped.read(0..512).await.unwrap_err();
    assert_eq!((refusal.kind, service.count("begin")), (ErrorKind::Denied, 1));
    dropped.end().await.unwrap();
    assert_eq!(service.count("end"), 1);
    // The resource is gone.
    let service = Service::with(vec![0; 512]);
    let gone = access(&service);
    gone.layout().await.unwrap();
    service.fail("end", ErrorKind::NotFound, 1);
    gone.end().await.unwrap();
}

fn facts(size: Option<u64>) -> DiskFacts {
    DiskFacts {
        id: id(),
        location: "disk:d".to_owned(),
        os: None,
        generation: None,
        size,
        unique_id: None,
        family_id: None,
        is_attached: false,
        has_access: false,
    }
}

/// The size that is found in a content, or the reason of the refusal.
async fn size(content: Vec<u8>, facts: DiskFacts) -> Result<u64, String> {
    let service = Service::with(content);
    let access = access(&service);
    let layout = access.layout().await.unwrap();
    disk_size(&facts, &layout, &access).await.map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn footer_is_checked_and_not_part_of_the_disk() {
    const SIZE: u64 = 1 << 20;
    let disk = vec![7; 1 << 20];
    let with = |size: u64| {
        let mut content = disk.clone();
        content.extend(Footer::fixed_for(size, 1).to_bytes());
        content
    };
    for known in [Some(SIZE), None] {
        assert_eq!(size(disk.clone(), facts(known)).await, Ok(SIZE), "without a footer");
        assert_eq!(size(with(SIZE), facts(known)).await, Ok(SIZE), "with a footer");
        let other = size(with(2 * SIZE), facts(known)).await.unwrap_err();
        assert!(other.contains("that of a disk of 2097152") && other.contains("source-damaged"), "{other}");
    }
    let mut zeros = disk.clone();
    zeros.extend([0; 512]);
    assert!(size(zeros, facts(Some(SIZE))).await.unwrap_err().contains("not the footer of a VHD"));
    assert!(size(disk, facts(Some(3 * SIZE))).await.unwrap_err().contains("its content has 1048576"));
}
