//! A reverse proxy in front of the storage emulator's Blob endpoint. It adds features of Azure's Blob service that the
//! emulator lacks, and injects faults.
//!
//! - Put Blob, Put Block and Put Page From URL, with the checksums of the source. The responses contain the checksum of
//!   the written data, as recorded from Azure: `Content-MD5` for pages from a URL, else `x-ms-content-crc64`. The
//!   source may be behind this proxy (`x-ms-copy-source` with its authority), behind another, or elsewhere; with a SAS,
//!   or with `x-ms-copy-source-authorization`.
//! - `x-ms-content-crc64` on Put Blob, Put Block and Put Page; no page write over 4 MiB.
//! - Rejection of writes and clears of pages after the end of a blob, which the emulator accepts.
//! - Copy Blob that stays pending, of any size, and Abort Copy Blob: see [`Effect::Pending`]. Lists of blobs do not
//!   show the copy's state; Get Blob and Get Blob Properties do.
//! - A service that ignores checksums, or does not return them: [`Effect::IgnoreSourceCrc64`],
//!   [`Effect::IgnoreSourceMd5`], [`Effect::IgnoreBodyChecksum`], [`Effect::NoChecksums`]; and bits that are flipped in
//!   transit.
//! - Faults, delays and limited bandwidth by [`Rules`], [`Counts`] of requests and bytes.
//!
//! All other requests pass through unchanged, path and query byte for byte. Requests may have bearer tokens or SAS.
//! Requests that are signed with the account's key work only if the proxy does not change their signed headers: no
//! copies, no checksums.

mod answer;
mod bandwidth;
mod checksum;
mod copies;
mod copy;
mod counters;
mod request;
mod rules;
mod server;
mod source;
mod upload;
mod upstream;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use checksum::crc64_header;
pub use counters::{Counters, Counts, Write};
pub use request::Operation;
pub use rules::{CopyEnd, Effect, Rule, RuleId, Rules};

use answer::{Answer, Refused};
use copies::Copies;
use request::ProxyRequest;
use rules::Plan;
use server::Reset;
use upload::RequestBody;
use upstream::{Upstream, end_to_end};

/// A running proxy. Dropping it stops it.
pub struct Proxy {
    core: Arc<Core>,
    _stop: DropGuard,
}

/// The state that all connections share.
struct Core {
    upstream: Upstream,
    rules: Rules,
    counters: Arc<Counters>,
    copies: Copies,
    lengths: Mutex<HashMap<String, u64>>,
    stop: CancellationToken,
}

impl Proxy {
    /// Starts a proxy in front of `upstream` (`https://127.0.0.1:10000`), on a free port. `tls` has its certificate;
    /// `client` must trust the upstream's certificate: create it with [`client`].
    ///
    /// # Errors
    /// If no port is free or `upstream` is not a URL.
    pub async fn start(
        upstream: &str,
        tls: Arc<rustls::ServerConfig>,
        client: reqwest::Client,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the proxy has no port")?;
        let own = format!("https://{}", listener.local_addr()?);
        let counters = Arc::new(Counters::default());
        let stop = CancellationToken::new();
        let core = Arc::new(Core {
            upstream: Upstream::new(upstream, own, client, Arc::clone(&counters))?,
            rules: Rules::default(),
            counters,
            copies: Copies::default(),
            lengths: Mutex::default(),
            stop: stop.clone(),
        });
        tokio::spawn(server::serve(listener, tls, Arc::clone(&core)));
        Ok(Self { core, _stop: stop.drop_guard() })
    }

    /// Its endpoint: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.core.upstream.own.clone()
    }

    /// Its rules. None at the start.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.core.rules
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }
}

/// The client for an upstream whose certificate has this root. It closes idle connections before the emulator does
/// (after 5 s), because a request on a connection that is just being closed would fail without a rule.
///
/// # Errors
/// If the process has no default cryptography provider.
pub fn client(root: reqwest::Certificate) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_certs_only([root])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_idle_timeout(Duration::from_secs(2))
        .build()
}

impl Core {
    /// Answers a request, or resets its connection.
    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Reset> {
        let (head, body) = request.into_parts();
        let asked = ProxyRequest::new(head);
        let mut upload = RequestBody::new(body, asked.account(), &self.counters);
        self.counters.request(asked.to_string());
        let plan = self.rules.plan(&asked.head);
        upload.limit_with(plan.line.clone());
        upload.flip(plan.flip_body);
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        if plan.lose_request {
            return Err(Reset);
        }
        let answer = self.answer(&asked, &mut upload, &plan).await.unwrap_or_else(|refusal| refusal.answer(&asked));
        upload.drain().await;
        if plan.lose_answer {
            // The effect must be complete before the client can notice the reset.
            let _ = answer.into_body().collect().await;
            return Err(Reset);
        }
        Ok(match plan.line {
            Some(line) => line.carrying(answer),
            None => answer,
        })
    }

    async fn answer(self: &Arc<Self>, asked: &ProxyRequest, upload: &mut RequestBody, plan: &Plan) -> Refused<Answer> {
        if let Some(refusal) = &plan.refusal {
            return Err(refusal.clone());
        }
        copy::guard(self, asked)?;
        let looked = copy::poll_destination(self, asked).await;
        let mut answer = self.operate(asked, upload, plan).await?;
        copy::forget_finished(self, asked, &answer);
        if let Some(copy) = looked.filter(|_| answer.status().is_success()) {
            copy.describe(answer.headers_mut());
        }
        Ok(answer)
    }

    async fn operate(&self, asked: &ProxyRequest, upload: &mut RequestBody, plan: &Plan) -> Refused<Answer> {
        match asked.operation {
            Operation::PutBlob | Operation::PutBlock | Operation::PutPage => {
                write::from_client(self, asked, upload, plan).await
            }
            Operation::ClearPages => write::clear(self, asked).await,
            Operation::PutBlobFromUrl => write::blob_from_url(self, asked, plan).await,
            Operation::PutBlockFromUrl => write::block_from_url(self, asked, plan).await,
            Operation::PutPageFromUrl => write::page_from_url(self, asked, plan).await,
            Operation::CopyBlob | Operation::CopyBlobFromUrl => match plan.pending {
                Some(rule) if asked.operation == Operation::CopyBlob => copy::hold(self, asked, plan.flip, rule).await,
                _ => copy::pass(self, asked).await,
            },
            Operation::AbortCopy => match copy::abort(self, asked).await {
                Some(answer) => answer,
                None => self.forward(asked, upload).await,
            },
            Operation::Other => self.forward(asked, upload).await,
        }
    }

    /// Forwards a request unchanged.
    async fn forward(&self, asked: &ProxyRequest, upload: &mut RequestBody) -> Refused<Answer> {
        let body = upload.stream(None);
        let answer = self.upstream.pass(asked, end_to_end(&asked.head.headers), body).await?;
        write::remember_length(self, asked, &answer);
        Ok(answer)
    }
}

/// Locks, ignoring poisoning: the values that it guards are always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
