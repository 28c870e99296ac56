//! Endpoints and prefixes, each checked where it is read.

use std::fmt;
use std::str::FromStr;

use goldfleet_model::ids::AccountName;
use goldfleet_model::serde_as_string;
use goldfleet_model::value::InvalidValue;
use serde::{Deserialize, Serialize};

/// The address of a service: `https`, and no query, as that is where secrets hide. `{account}` in it stands for the
/// storage account's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

impl Endpoint {
    const ACCOUNT: &'static str = "{account}";

    /// The address as written, `{account}` and all.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.0
    }

    /// Whether the address depends on the account.
    #[must_use]
    pub fn names_account(&self) -> bool {
        self.0.contains(Self::ACCOUNT)
    }

    /// Whether the address is this machine's own. A name that only resolves to it is not believed.
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

    /// The address for `account`.
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
            // Part of it may be a secret, and an error ends up in logs.
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

/// What the names of queues and tables begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

impl Prefix {
    /// The text.
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
        // Tables allow letters and digits only and no digit in front; queues no capitals: this is what both take.
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
