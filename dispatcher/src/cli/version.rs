//! `version`, and command lines that messages suggest.

use goldfleet_connect::DATABASE_FORMAT;
use goldfleet_model::manifest::Manifest;
use goldfleet_model::message::Message;
use goldfleet_model::selector::Selector;
use goldfleet_runtime::process;
use serde_json::json;

use super::error::{CommandError, DONE};
use super::output::{Console, Output, write_json};

/// `goldfleet version`.
///
/// # Errors
/// Where the console cannot be written to.
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

/// The command line that runs `command` for an image version and a selection of targets.
#[must_use]
pub fn command_line(command: &str, image: &str, version: &str, selection: &[Selector]) -> String {
    let mut line = format!("goldfleet {command} --image {image} --version {version}");
    for selector in selection {
        // A selector may contain characters that a shell expands.
        line += &format!(" --target '{}'", selector.to_string().replace('\'', r"'\''"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_command_is_quoted_for_a_shell() {
        let selection = ["west*", "tag.owner=O'Hara"].map(|text| text.parse().unwrap());
        let line = command_line("dispatch", "ubuntu", "1", &selection);
        assert_eq!(
            line,
            r"goldfleet dispatch --image ubuntu --version 1 --target 'west*' --target 'tag.owner=O'\''Hara'"
        );
    }
}
