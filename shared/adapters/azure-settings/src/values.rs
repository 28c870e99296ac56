//! Endpoints and prefixes. Each value is validated when it is parsed.

use std::fmt;
use std::str::FromStr;

use goldfleet_model::ids::AccountName;
use goldfleet_model::serde_as_string;
use goldfleet_model::value::InvalidValue;
use serde::{Deserialize, Serialize};

/// The URL of a service: `https`, and without a query, because a query may contain a secret. `{account}` stands for the
/// name of the storage account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

impl Endpoint {
    const ACCOUNT: &'static str = "{account}";

    /// The URL as written, including `{account}`.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.0
    }

    /// Whether the URL depends on the account.
    #[must_use]
    pub fn names_account(&self) -> bool {
        self.0.contains(Self::ACCOUNT)
    }

    /// Whether the host is the loopback interface. A name that merely resolves to it does not count.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let rest = self.0.strip_prefix("https://").unwrap_or(&self.0);
        let authority = rest.split('/').next().unwrap_or(rest);
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => authority.split(':').next().unwrap_or(authority),
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The URL for `account`.
    #[must_use]
    pub fn for_account(&self, account: &AccountName) -> String {
        self.0.replace(Self::ACCOUNT, account.as_str())
    }
}

impl FromStr for Endpoint {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refuse = |given: &str, rule| InvalidValue { what: "endpoint", given: given.to_owned(), rule };
        if text.contains(['?', '#', '@']) {
            // A part of it may be a secret, and error messages are logged.
            return Err(refuse("https://…", "leave out '?', '#' and '@': keys, SAS tokens and passwords are not used"));
        }
        let rule = "write 'https://', a host and where needed a port and a path, without blanks";
        let rest = text.strip_prefix("https://").ok_or_else(|| refuse(text, rule))?;
        let plain = rest.replace(Self::ACCOUNT, "account");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&byte);
        if plain.bytes().next().is_some_and(|first| first != b'/') && plain.bytes().all(allowed) {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(refuse(text, rule))
        }
    }
}

serde_as_string!(Endpoint);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The prefix of the names of queues and tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

impl Prefix {
    /// The text of the prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("goldfleet".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // Table names allow only letters and digits and do not start with a digit. Queue names allow no capital
        // letters. The rule satisfies both.
        let good = (3..=30).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && !text.starts_with(|first: char| first.is_ascii_digit());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            let rule = "use 3 to 30 lower-case letters and digits, beginning with a letter";
            Err(InvalidValue { what: "prefix", given: text.to_owned(), rule })
        }
    }
}

serde_as_string!(Prefix);

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
