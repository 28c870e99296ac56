//! `completions` and `man`, which are generated from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};
use goldfleet_worker::arguments::Arguments as WorkerArguments;

use super::arguments::Arguments;
use super::output::Console;

/// What the completion script of bash needs besides: whole words.
const BASH: &str = include_str!("completion.bash");

/// Prints the completion script of a shell.
///
/// # Errors
/// If the console cannot be written to.
pub fn completions(shell: Shell, console: &mut Console<'_>) -> io::Result<()> {
    let mut script = Vec::new();
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Elvish => &Elvish,
        Shell::Fish => &Fish,
        Shell::PowerShell => &Powershell,
        Shell::Zsh => &Zsh,
        other => return Err(io::Error::other(format!("no completions for {other}"))),
    };
    // The script calls the program to complete each word, so that it can offer job ids and images too.
    completer.write_registration("COMPLETE", "goldfleet", "goldfleet", "goldfleet", &mut script)?;
    if shell == Shell::Bash {
        script.extend_from_slice(BASH.as_bytes());
    }
    console.out.write_all(&script)
}

/// Writes the manual pages of both programs to a directory.
///
/// # Errors
/// If the directory cannot be created or written to.
pub fn manual(folder: &Path, console: &mut Console<'_>) -> io::Result<()> {
    let written = fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
        .and_then(|()| clap_mangen::generate_to(WorkerArguments::command(), folder));
    written.map_err(|error| io::Error::new(error.kind(), format!("cannot write to {}: {error}", folder.display())))?;
    let pages =
        fs::read_dir(folder)?.filter_map(Result::ok).filter(|page| page.path().extension().is_some_and(|e| e == "1"));
    writeln!(
        console.out,
        "{} pages in {}: man -l {}",
        pages.count(),
        folder.display(),
        folder.join("goldfleet.1").display()
    )
}
