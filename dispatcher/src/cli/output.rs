//! How results are written: tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, LineStyle, Table};
use serde::Serialize;

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
}

/// The width of the terminal, where standard output is one.
#[must_use]
pub fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// Writes a table with a line under its header. Where the width is limited, cells take several lines.
///
/// # Errors
/// Where the console can't be written to.
pub fn write_table<R>(console: &mut Console<'_>, header: &[&str], rows: impl IntoIterator<Item = R>) -> io::Result<()>
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table
        // No looking at the terminal behind our back: the console says how wide it is.
        .force_no_tty()
        .load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header)
        .add_rows(rows.into_iter().map(|row| row.into_iter().collect::<Vec<_>>()));
    if let Some(width) = console.width {
        table.set_width(width);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    writeln!(console.out, "{}", table.trim_fmt())
}

/// Writes a value as JSON, indented, with a line break behind it.
///
/// # Errors
/// Where `out` can't be written to.
pub fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<u16>) -> String {
        let rows = [["westeurope", "a sentence that is rather long"], ["eastus", "short"]];
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console { output: Output::Table, out: &mut out, notes: &mut notes, width };
        write_table(&mut console, &["region", "what"], rows.map(|row| row.map(str::to_owned))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_fit_the_width() {
        insta::assert_snapshot!(written(None));
        insta::assert_snapshot!(written(Some(30)));
    }
}
