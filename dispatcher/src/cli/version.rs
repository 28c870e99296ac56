//! `version`.

use goldfleet_connect::DATABASE_FORMAT;
use goldfleet_model::manifest::Manifest;
use goldfleet_model::message::Message;
use goldfleet_runtime::process;
use serde_json::json;

use super::error::{CommandError, DONE};
use super::output::{Console, Output, write_json};

/// `goldfleet version`.
///
/// # Errors
/// If the console cannot be written to.
pub fn run(console: &mut Console<'_>) -> Result<u8, CommandError> {
    let (version, commit) = (process::RELEASE, process::COMMIT);
    let formats = [
        ("manifest", i64::from(Manifest::FORMAT_VERSION)),
        ("message", i64::from(Message::VERSION)),
        ("database", DATABASE_FORMAT),
    ];
    if console.output == Output::Json {
        let formats: serde_json::Map<_, _> = formats.map(|(name, v)| (name.to_owned(), json!(v))).into_iter().collect();
        write_json(console.out, &json!({ "version": version, "commit": commit, "formats": formats }))?;
        return Ok(DONE);
    }
    writeln!(console.out, "goldfleet {version}")?;
    writeln!(console.out, "commit: {commit}")?;
    let formats = formats.map(|(name, version)| format!("{name} {version}"));
    writeln!(console.out, "formats: {}", formats.join(", "))?;
    Ok(DONE)
}
