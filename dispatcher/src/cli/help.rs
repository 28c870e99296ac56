//! `help`: shows help for commands, and pages of the documentation.

use clap::CommandFactory as _;
use clap_complete::CompletionCandidate;
use textwrap::WordSplitter;

use super::arguments::Arguments;
use super::error::{CommandError, DONE};
use super::output::Console;

/// The documentation pages that are compiled into the program, by topic.
const PAGES: [(&str, &str); 18] = [
    ("azure", include_str!("../../../docs/azure.md")),
    ("configuration", include_str!("../../../docs/configuration.md")),
    ("dashboard-page", include_str!("../../../docs/dashboard.md")),
    ("deploy", include_str!("../../../docs/deploy.md")),
    ("failures", include_str!("../../../docs/failures.md")),
    ("formats", include_str!("../../../docs/formats.md")),
    ("galleries", include_str!("../../../docs/galleries.md")),
    ("lifecycle", include_str!("../../../docs/lifecycle.md")),
    ("machines", include_str!("../../../docs/machines.md")),
    ("model", include_str!("../../../docs/model.md")),
    ("planning", include_str!("../../../docs/planning.md")),
    ("probe", include_str!("../../../docs/probe.md")),
    ("quick-start", include_str!("../../../docs/quick-start.md")),
    ("scaling", include_str!("../../../docs/scaling.md")),
    ("security", include_str!("../../../docs/security.md")),
    ("snapshots-page", include_str!("../../../docs/snapshots.md")),
    ("sources", include_str!("../../../docs/sources.md")),
    ("targets-file", include_str!("../../../docs/targets.md")),
];

/// What `goldfleet help` shows: commands and pages.
#[must_use]
pub fn words() -> Vec<CompletionCandidate> {
    let commands = Arguments::command();
    let commands = commands.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    commands.chain(PAGES.map(|(name, _)| name)).map(str::to_owned).map(CompletionCandidate::new).collect()
}

/// `goldfleet help`.
///
/// # Errors
/// [`CommandError::Unknown`] if there is no such command and no such page.
pub fn run(words: &[String], console: &mut Console<'_>) -> Result<u8, CommandError> {
    let mut command = Arguments::command();
    command.build();
    if let [topic] = words
        && let Some((_, page)) = PAGES.iter().find(|(name, _)| name == topic)
    {
        write!(console.out, "{page}")?;
        return Ok(DONE);
    }
    let mut found = &mut command;
    for word in words {
        found = found.find_subcommand_mut(word).ok_or_else(|| {
            let topics = PAGES.map(|(name, _)| name).join(", ");
            CommandError::Unknown(format!("no command or help topic '{word}'; topics: {topics}"))
        })?;
    }
    write!(console.out, "{}", found.render_long_help())?;
    if words.is_empty() {
        let topics = PAGES.map(|(name, _)| name).join(", ");
        let text = format!("Help topics ('goldfleet help TOPIC'): {topics}");
        let width = console.width.map_or(100, usize::from);
        let options = textwrap::Options::new(width).word_splitter(WordSplitter::NoHyphenation);
        writeln!(console.out, "\n{}", textwrap::fill(&text, options))?;
    }
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Output;

    fn help(words: &[&str]) -> Result<String, String> {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match run(&words, &mut Console::plain(Output::Table, &mut out, &mut notes)) {
            Ok(_) => Ok(String::from_utf8(out).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn help_shows_commands_and_pages() {
        assert!(help(&[]).unwrap().contains("Help topics ('goldfleet help TOPIC'): azure, configuration"));
        assert!(help(&["targets", "remove"]).unwrap().contains("goldfleet targets remove"));
        assert!(help(&["configuration"]).unwrap().starts_with("# Configuration"));
        assert!(help(&["coffee"]).unwrap_err().starts_with("no command or help topic 'coffee'; topics: azure"));
    }

    #[test]
    fn no_page_hides_a_command() {
        let command = Arguments::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert!(PAGES.iter().all(|(page, _)| !names.contains(page)), "{names:?}");
    }
}
