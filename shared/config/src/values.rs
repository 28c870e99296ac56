//! The types of configuration values. Each is validated when it is parsed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use goldfleet_model::serde_as_string;
use goldfleet_model::value::InvalidValue;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Serialize};

/// A duration in the notation of people: `90s`, `1h 30m`, `2 days`. A day has 24 hours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// A duration of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A duration of milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The duration as a standard library type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for HumanDuration {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .map(Self)
            .ok_or_else(|| InvalidValue {
                what: "length of time",
                given: text.to_owned(),
                rule: "write it with units, such as '500ms', '90s', '1h 30m' or '2 days'",
            })
    }
}

serde_as_string!(HumanDuration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The duration was parsed from a signed one or created from a few seconds, so it fits.
        let duration = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        f.pad(&format!("{duration:#}"))
    }
}

impl fmt::Debug for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A local address and port to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress(SocketAddr);

impl ListenAddress {
    /// The address as a standard library type.
    #[must_use]
    pub const fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map(Self).map_err(|_| InvalidValue {
            what: "address to listen at",
            given: text.to_owned(),
            rule: "write an IP address and a port, such as '127.0.0.1:8080' or '[::1]:8080'",
        })
    }
}

serde_as_string!(ListenAddress);

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}
