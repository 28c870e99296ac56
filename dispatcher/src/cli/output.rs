//! The destination and the form of results (tables for people, JSON for programs), and the answers to questions.

use std::io::{self, IsTerminal as _, Stderr, Stdout, Write};

use console::Term;
use goldfleet_runtime::telemetry;
use serde::Serialize;

use crate::terminal::color::Tone;

/// The form in which a command writes its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Tables and sentences
    #[default]
    Table,
    /// JSON with stable keys
    Json,
    /// A picture (only of a plan)
    Svg,
}

/// Standard output. If its reader closes the pipe, the command still runs to its end and returns its real exit code.
#[derive(Debug)]
pub struct ResultWriter(Stdout);

/// Standard error. A failed write to it does not stop the command, because only people read it.
#[derive(Debug)]
pub struct NoteWriter(Stderr);

impl Default for ResultWriter {
    fn default() -> Self {
        Self(io::stdout())
    }
}

impl Default for NoteWriter {
    fn default() -> Self {
        Self(io::stderr())
    }
}

impl Write for ResultWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ignore_closed_pipe(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        ignore_closed_pipe(self.0.flush(), ())
    }
}

impl Write for NoteWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().or(Ok(()))
    }
}

/// The result of a write, or `closed` if the reader has closed the pipe.
fn ignore_closed_pipe<T>(written: io::Result<T>, closed: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(closed),
        written => written,
    }
}

/// Which outputs are coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Colours {
    /// Results.
    pub out: bool,
    /// Notes.
    pub notes: bool,
}

/// Who answers the questions of a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    /// Nobody, because standard input or standard error is not a terminal.
    #[default]
    Nobody,
    /// An operator at the terminal.
    Terminal,
    /// A fixed answer, for tests.
    Always(bool),
}

/// The outputs of a command, and their form.
pub struct Console<'a> {
    /// The form of the result.
    pub output: Output,
    /// The destination of results: standard output.
    pub out: &'a mut dyn Write,
    /// The destination of notes for people: standard error. Programs should not read them.
    pub notes: &'a mut dyn Write,
    /// The width of tables in columns. None if no terminal limits it.
    pub width: Option<u16>,
    /// Which outputs are coloured.
    pub colours: Colours,
    /// Who answers questions.
    pub answers: Answers,
}

impl<'a> Console<'a> {
    /// A console that is not a terminal: unlimited width, no colours.
    pub fn plain(output: Output, out: &'a mut dyn Write, notes: &'a mut dyn Write) -> Self {
        Self { output, out, notes, width: None, colours: Colours::default(), answers: Answers::Nobody }
    }

    /// The same console with another destination of results.
    pub fn with_output<'b>(&'b mut self, out: &'b mut dyn Write) -> Console<'b> {
        let Console { output, width, colours, answers, .. } = *self;
        Console { output, out, notes: self.notes, width, colours, answers }
    }

    /// The console of this process. If standard output is a terminal, its width applies, and colours are used if they
    /// are enabled.
    pub fn standard(output: Output, out: &'a mut ResultWriter, notes: &'a mut NoteWriter) -> Self {
        let width = Term::stdout().size_checked().map(|(_, width)| width);
        let colours = Colours { out: telemetry::supports_color(&out.0), notes: telemetry::supports_color(&notes.0) };
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        let answers = if terminal { Answers::Terminal } else { Answers::Nobody };
        Self { output, out, notes, width, colours, answers }
    }

    /// Asks the operator for confirmation. The default answer is no. None if nobody can be asked.
    ///
    /// # Errors
    /// If the terminal cannot be read.
    pub async fn confirm(&mut self, question: &str) -> io::Result<Option<bool>> {
        match self.answers {
            Answers::Nobody => Ok(None),
            Answers::Always(answer) => Ok(Some(answer)),
            Answers::Terminal => {
                write!(self.notes, "{question} [y/N] ")?;
                self.notes.flush()?;
                // A blocking thread, so that an interrupt can end the command while it waits for the answer.
                let read = tokio::task::spawn_blocking(|| {
                    let mut line = String::new();
                    io::stdin().read_line(&mut line).map(|_| line)
                });
                let line = read.await.map_err(io::Error::other)??;
                Ok(Some(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
            }
        }
    }

    /// A word of a result, in the colour of its tone.
    #[must_use]
    pub fn word(&self, tone: impl Into<Tone>, word: &str) -> String {
        tone.into().colorize(word, self.colours.out)
    }
}

/// Writes a value as indented JSON, followed by a line break.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
