//! Token buckets. Source: Azure, 'Understand how Azure Resource Manager throttles requests': there is a bucket for each
//! subscription, region of the receiving Resource Manager, and principal, and for each of reads, writes and deletes.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;

use super::response::ArmAnswer;

/// The size and the fill rate of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The number of requests in a full bucket.
    pub burst: u64,
    /// The number of requests that are added per second.
    pub per_second: u64,
}

/// The limits of a subscription, region and principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For GET and HEAD. Polls are reads too.
    pub reads: Limit,
    /// For PUT and PATCH.
    pub writes: Limit,
    /// For DELETE.
    pub deletes: Limit,
    /// The region of the Resource Manager that the double simulates. Changing it simulates that another one receives
    /// the requests.
    pub region: String,
}

impl Default for Limits {
    /// Azure's limits of a subscription. Source: see the module documentation.
    fn default() -> Self {
        Self {
            reads: Limit { burst: 250, per_second: 25 },
            writes: Limit { burst: 200, per_second: 10 },
            deletes: Limit { burst: 200, per_second: 10 },
            region: "westeurope".to_owned(),
        }
    }
}

impl Limits {
    /// Limits that no test reaches.
    #[must_use]
    pub fn none() -> Self {
        let limit = Limit { burst: 1 << 40, per_second: 1 << 20 };
        Self { reads: limit, writes: limit, deletes: limit, ..Self::default() }
    }
}

/// The fill levels of the buckets.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets(BTreeMap<(String, &'static str), Bucket>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a request.
    thousandths: u64,
    at: Timestamp,
}

impl Bucket {
    fn fill(&mut self, limit: Limit, now: Timestamp) {
        let passed = u64::try_from(now.as_millisecond() - self.at.as_millisecond()).unwrap_or_default();
        let full = limit.burst.saturating_mul(1000);
        self.thousandths = self.thousandths.saturating_add(passed.saturating_mul(limit.per_second)).min(full);
        self.at = now;
    }
}

impl Buckets {
    /// Takes a request from its bucket.
    ///
    /// Returns the header with the remaining number of requests, or the error.
    pub(super) fn take(
        &mut self,
        limits: &Limits,
        method: &Method,
        (subscription, principal): (&str, &str),
        now: Timestamp,
    ) -> Result<(&'static str, String), ArmAnswer> {
        let (limit, kind, header) = match *method {
            Method::GET | Method::HEAD => (limits.reads, "read", "x-ms-ratelimit-remaining-subscription-reads"),
            Method::DELETE => (limits.deletes, "delete", "x-ms-ratelimit-remaining-subscription-deletes"),
            _ => (limits.writes, "write", "x-ms-ratelimit-remaining-subscription-writes"),
        };
        let key = format!("{}/{}/{principal}", subscription.to_ascii_lowercase(), limits.region);
        let new = Bucket { thousandths: limit.burst.saturating_mul(1000), at: now };
        let bucket = self.0.entry((key, kind)).or_insert(new);
        bucket.fill(limit, now);
        if bucket.thousandths >= 1000 {
            bucket.thousandths -= 1000;
            return Ok((header, (bucket.thousandths / 1000).to_string()));
        }
        let missing = 1000 - bucket.thousandths;
        // Source: RFC 9110, 10.2.3: whole seconds. A bucket that never fills gives one hour, as a long time.
        let wait = missing.checked_div(limit.per_second).map_or(3600, |millis| millis.div_ceil(1000).max(1));
        let message = format!(
            "Number of '{kind}' requests for subscription '{subscription}' actor '{principal}' exceeded. Please try \
             again after '{wait}' seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling \
             for additional information."
        );
        Err(ArmAnswer::error(StatusCode::TOO_MANY_REQUESTS, "SubscriptionRequestsThrottled", message)
            .header("retry-after", wait.to_string())
            .header(header, "0"))
    }
}
