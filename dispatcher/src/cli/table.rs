//! Tables that fit the terminal. Words are never broken, so that ids can be copied.

use std::io;

use comfy_table::presets::NOTHING;
use comfy_table::{Color, ColumnConstraint, ContentArrangement, LineStyle, Table, Width};
use textwrap::WordSplitter;

use super::output::Console;
use crate::terminal::color::Tone;

/// The number of columns between two cells.
const GAP: u16 = 2;

/// The maximum number of characters of a column name and its cell that share a line in a paragraph.
const MAX_INLINE: usize = 28;

/// The rule under a header is drawn with this character.
const RULE: char = '─';

/// The maximum width of a rule.
const MAX_RULE: usize = 120;

/// Represents a space at which a line must not break.
const NO_BREAK: &str = "\u{a0}";

/// A cell of a table: its text, and its tone if it is coloured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell in the colour of a tone.
    pub fn toned(tone: impl Into<Tone>, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Some(tone.into()) }
    }

    /// A count in the colour of `tone`. A count of zero has no colour.
    #[must_use]
    pub fn count(count: usize, tone: Tone) -> Self {
        Self { text: count.to_string(), tone: (count > 0).then_some(tone) }
    }

    fn painted(&self, colours: bool) -> String {
        self.tone.map_or_else(|| self.text.clone(), |tone| tone.colorize(&self.text, colours))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

impl From<Cell> for comfy_table::Cell {
    fn from(Cell { text, tone }: Cell) -> Self {
        let cell = Self::new(text);
        match tone {
            Some(tone) => cell.fg(Color::AnsiValue(tone.ansi_color())),
            None => cell,
        }
    }
}

/// Writes a table with a rule under its header. If the width is limited, cells may take several lines. If the width is
/// too small for that, each row becomes a paragraph.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_table<R>(console: &mut Console<'_>, header: &[&str], rows: impl IntoIterator<Item = R>) -> io::Result<()>
where
    R: IntoIterator<Item: Into<Cell>>,
{
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect();
    let least = least_widths(header, &rows);
    match console.width {
        Some(width) if least.iter().map(|column| column + GAP).sum::<u16>() > width => {
            write_paragraphs(console, header, &rows, width)
        }
        _ => write_columns(console, header, rows, &least),
    }
}

/// The width of the widest word of each column.
fn least_widths(header: &[&str], rows: &[Vec<Cell>]) -> Vec<u16> {
    let widest = |text: &str| text.split_whitespace().map(textwrap::core::display_width).max().unwrap_or(0);
    let column = |(place, name): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| widest(&cell.text));
        let width = cells.chain([widest(name)]).max().unwrap_or(0);
        u16::try_from(width).unwrap_or(u16::MAX / 64)
    };
    header.iter().enumerate().map(column).collect()
}

fn write_columns(console: &mut Console<'_>, header: &[&str], rows: Vec<Vec<Cell>>, least: &[u16]) -> io::Result<()> {
    let mut table = Table::new();
    table
        // The console provides the width, so the table must not query the terminal.
        .force_no_tty()
        .load_style(NOTHING.header_separator(LineStyle::none().fill(RULE).junction(RULE)))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header)
        .add_rows(rows);
    if console.colours.out {
        table.enforce_styling().style_text_only();
    }
    for (column, least) in table.column_iter_mut().zip(least) {
        column.set_padding((0, 1));
        if console.width.is_some() {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least + 1)));
        }
    }
    if let Some(width) = console.width {
        table.set_width(width);
    }
    for line in table.trim_fmt().lines() {
        // Without a limited width, a long cell would draw a rule of hundreds of columns.
        let is_rule = line.chars().all(|letter| letter == RULE);
        let end = if is_rule { line.char_indices().nth(MAX_RULE) } else { None };
        writeln!(console.out, "{}", end.map_or(line, |(end, _)| &line[..end]))?;
    }
    Ok(())
}

/// Writes the first cell of each row on a line, and below it the other cells with their column names. Empty cells are
/// omitted.
fn write_paragraphs(console: &mut Console<'_>, header: &[&str], rows: &[Vec<Cell>], width: u16) -> io::Result<()> {
    let fitting = textwrap::Options::new(width.into())
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation)
        .subsequent_indent("  ");
    for row in rows {
        let mut cells = header.iter().zip(row).filter(|(_, cell)| !cell.text.is_empty());
        let Some((_, first)) = cells.next() else { continue };
        writeln!(console.out, "{}", textwrap::fill(&first.painted(console.colours.out), &fitting))?;
        let rest: Vec<String> = cells.map(|(name, cell)| named(name, cell, console.colours.out)).collect();
        let filled = textwrap::fill(&rest.join(", "), fitting.clone().initial_indent("  "));
        writeln!(console.out, "{}", filled.replace(NO_BREAK, " "))?;
    }
    Ok(())
}

/// A cell after its column name. A short cell stays on one line.
fn named(name: &str, cell: &Cell, colours: bool) -> String {
    let text = format!("{name} {}", cell.painted(colours)).trim_start().to_owned();
    if name.len() + cell.text.len() > MAX_INLINE { text } else { text.replace(' ', NO_BREAK) }
}

#[cfg(test)]
mod tests {
    use super::super::output::{Colours, Output};
    use super::*;

    fn written(width: Option<u16>, colours: bool) -> String {
        let rows = [
            ["westeurope", "failed", "a sentence that is rather long"],
            ["eastus", "succeeded", ""],
            ["00000000-0000-0000-0000-000000000001", "running", "short"],
        ];
        let tone = |word: &str| match word {
            "failed" => Tone::Error,
            "succeeded" => Tone::Success,
            _ => Tone::Active,
        };
        let row = |[place, state, why]: [&str; 3]| {
            [place.to_owned().into(), Cell::toned(tone(state), state), Cell::from(why.to_owned())]
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let plain = Console::plain(Output::Table, &mut out, &mut notes);
        let mut console = Console { width, colours: Colours { out: colours, notes: colours }, ..plain };
        write_table(&mut console, &["place", "state", "why"], rows.map(row)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_fit_width() {
        let all = [None, Some(200), Some(66), Some(40)].map(|width| format!("{width:?}\n{}", written(width, false)));
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn lines_fit_terminal_without_breaking_words() {
        for width in 38..=120 {
            let text = written(Some(width), false);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{text}");
            for word in ["00000000-0000-0000-0000-000000000001", "succeeded", "sentence"] {
                assert!(text.contains(word), "{width}: {word}\n{text}");
            }
        }
    }

    #[test]
    fn rule_of_a_table_without_width_is_limited() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console::plain(Output::Table, &mut out, &mut notes);
        let long = "a long cell ".repeat(30);
        write_table(&mut console, &["code", "cause"], [["c".to_owned(), long.clone()]]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths[1], MAX_RULE, "{text}");
        assert!(text.contains(long.trim_end()), "{text}");
    }

    #[test]
    fn colors_do_not_change_layout() {
        for width in [None, Some(66), Some(40)] {
            let coloured = written(width, true);
            assert!(coloured.contains("\u{1b}[38;5;1mfailed"), "{coloured:?}");
            assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), written(width, false));
        }
    }
}
