//! `completions` and `man`: what shells and readers want of the command line, made from the command line itself.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use goldfleet_worker::arguments::Arguments as WorkerArguments;

use super::arguments::Arguments;
use super::output::Console;

/// Writes a shell's completions to standard output.
///
/// # Errors
/// Where it can't be written to.
pub fn completions(shell: Shell, console: &mut Console<'_>) -> io::Result<()> {
    // Into memory first: the generator takes a closed pipe for a bug.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "goldfleet", &mut script);
    console.out.write_all(&script)
}

/// Writes the manual pages of both programs into a folder. Returns how many there are.
///
/// # Errors
/// Where the folder can't be made or written to.
pub fn manual(folder: &Path, console: &mut Console<'_>) -> io::Result<()> {
    let written = fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
        .and_then(|()| clap_mangen::generate_to(WorkerArguments::command(), folder));
    written
        .map_err(|error| io::Error::new(error.kind(), format!("{} can't be written to: {error}", folder.display())))?;
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
