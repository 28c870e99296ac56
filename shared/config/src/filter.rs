//! What is logged, as a filter.

use std::str::FromStr as _;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// What can be logged, in words.
pub const FILTER_HELP: &str = "write a level, such as 'info', or 'warn,goldfleet_worker=debug'";

/// Reads a filter that is meant for us.
///
/// # Errors
/// Why it is none, but for a word that is no level. It would be the name of a part of the program, of which everything is
/// logged, and nothing else.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, Option<ParseError>> {
    let misspelt = |word: &str| {
        !word.contains(['=', '[', ':', '_']) && Level::from_str(word).is_err() && !word.eq_ignore_ascii_case("off")
    };
    if filter.split(',').map(str::trim).any(|word| !word.is_empty() && misspelt(word)) {
        return Err(None);
    }
    EnvFilter::try_new(filter).map_err(Some)
}
