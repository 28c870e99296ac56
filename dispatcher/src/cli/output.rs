//! Where results go and in which form: tables for people, JSON for programs.

use std::io::{self, Stderr, Stdout, Write};

use console::Term;
use goldfleet_runtime::telemetry;
use serde::Serialize;

use crate::terminal::paint::Tone;

/// The form in which a command writes its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    #[default]
    Table,
    /// JSON, with keys that stay.
    Json,
    /// A picture; only of a plan.
    Svg,
}

/// Standard output. Whoever has read enough of it may go: the command goes on to its end, and to its true exit code.
#[derive(Debug)]
pub struct Results(Stdout);

/// Standard error. What can't be said there keeps no command from its work, as it is said to people only.
#[derive(Debug)]
pub struct Remarks(Stderr);

impl Default for Results {
    fn default() -> Self {
        Self(io::stdout())
    }
}

impl Default for Remarks {
    fn default() -> Self {
        Self(io::stderr())
    }
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_closed(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_closed(self.0.flush(), ())
    }
}

impl Write for Remarks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().or(Ok(()))
    }
}

/// What came of writing, or `closed` where nobody reads any more.
fn unless_closed<T>(written: io::Result<T>, closed: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(closed),
        written => written,
    }
}

/// What is to be coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Colours {
    /// Results.
    pub out: bool,
    /// Remarks.
    pub notes: bool,
}

/// Where a command writes, and in which form.
pub struct Console<'a> {
    /// The form of the result.
    pub output: Output,
    /// Where results go: standard output.
    pub out: &'a mut dyn Write,
    /// Where remarks for people go, which no program should read: standard error.
    pub notes: &'a mut dyn Write,
    /// The columns that a table may take; none where no terminal limits them.
    pub width: Option<u16>,
    /// What of it is to be coloured.
    pub colours: Colours,
}

impl<'a> Console<'a> {
    /// A console that is no terminal: as wide as need be, without colours.
    pub fn plain(output: Output, out: &'a mut dyn Write, notes: &'a mut dyn Write) -> Self {
        Self { output, out, notes, width: None, colours: Colours::default() }
    }

    /// The console of this process: as wide as the terminal that standard output is, coloured where that is wanted.
    pub fn standard(output: Output, out: &'a mut Results, notes: &'a mut Remarks) -> Self {
        let width = Term::stdout().size_checked().map(|(_, width)| width);
        let colours = Colours { out: telemetry::colours(&out.0), notes: telemetry::colours(&notes.0) };
        Self { output, out, notes, width, colours }
    }

    /// A word of a result, in the colour of what it tells.
    #[must_use]
    pub fn word(&self, tone: impl Into<Tone>, word: &str) -> String {
        tone.into().paint(word, self.colours.out)
    }
}

/// Writes a value as JSON, indented, with a line break behind it.
///
/// # Errors
/// Where `out` can't be written to.
pub fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
