//! Tables that fit the terminal. Words are never broken, so that ids can be copied.

use std::io;

use textwrap::WordSplitter;
use textwrap::core::display_width;

use super::output::Console;
use crate::terminal::color::Tone;

/// The number of columns between two cells.
const GAP: usize = 2;

/// The minimum width of a column whose cells take several lines. In a narrower column, each line would have a single
/// word.
const MIN_TEXT: usize = 40;

/// The maximum number of characters of a column name and its cell that share a line below a row.
const MAX_INLINE: usize = 28;

/// The rule under a header is drawn with this character.
const RULE: &str = "─";

/// The maximum width of a rule.
const MAX_RULE: usize = 120;

/// Stands for a space at which a line must not break.
const NO_BREAK: &str = "\u{a0}";

/// A cell of a table: its text, and its tone if it is coloured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    fn new(text: impl Into<String>, tone: Option<Tone>) -> Self {
        // A cell is one line until it is wrapped.
        let text: String = text.into();
        Self { text: text.lines().collect::<Vec<_>>().join(" "), tone }
    }

    /// A cell in the colour of a tone.
    pub fn toned(tone: impl Into<Tone>, text: impl Into<String>) -> Self {
        Self::new(text, Some(tone.into()))
    }

    /// A count in the colour of `tone`. A count of zero has no colour.
    #[must_use]
    pub fn count(count: usize, tone: Tone) -> Self {
        Self::new(count.to_string(), (count > 0).then_some(tone))
    }

    fn painted(&self, text: &str, colours: bool) -> String {
        self.tone.map_or_else(|| text.to_owned(), |tone| tone.colorize(text, colours))
    }

    /// The width of its widest word.
    fn widest_word(&self) -> usize {
        self.text.split_whitespace().map(display_width).max().unwrap_or(0)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, None)
    }
}

/// Writes a table with a rule under its header. If the width is limited and a row is wider, the cells of the widest
/// column take several lines. If that column would be too narrow, the widest columns are written below each row
/// instead.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_table<R>(console: &mut Console<'_>, header: &[&str], rows: impl IntoIterator<Item = R>) -> io::Result<()>
where
    R: IntoIterator<Item: Into<Cell>>,
{
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect();
    let limit = console.width.map(usize::from);
    let layout = Layout::new(header, &rows, limit);
    let names: Vec<Cell> = header.iter().map(|name| Cell::from((*name).to_owned())).collect();
    write_row(console, &layout, header, &names)?;
    // The rule is a little longer than the table, if the width permits it.
    let rule = (layout.width() + 1).min(limit.unwrap_or(MAX_RULE)).min(MAX_RULE);
    writeln!(console.out, "{}", RULE.repeat(rule))?;
    rows.iter().try_for_each(|row| write_row(console, &layout, header, row))
}

/// Where the columns of a table are.
struct Layout {
    /// The columns of a line, in order.
    columns: Vec<usize>,
    /// The width of each column of the table.
    widths: Vec<usize>,
    /// The column whose cells take several lines.
    wrapped: Option<usize>,
    /// The available width.
    limit: usize,
}

impl Layout {
    fn new(header: &[&str], rows: &[Vec<Cell>], limit: Option<usize>) -> Self {
        let width = |(place, name): (usize, &&str)| {
            let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| display_width(&cell.text));
            cells.chain([display_width(name)]).max().unwrap_or(0)
        };
        let widths = header.iter().enumerate().map(width).collect();
        let limit = limit.unwrap_or(usize::MAX);
        let mut layout = Self { columns: (0..header.len()).collect(), widths, wrapped: None, limit };
        while layout.width() > limit {
            // The first column identifies the row.
            let others = layout.columns.iter().copied().skip(1);
            let Some(widest) = others.max_by_key(|column| layout.widths[*column]) else {
                layout.wrapped = layout.columns.first().copied();
                break;
            };
            let room = limit.saturating_sub(layout.width() - layout.widths[widest]);
            if room >= MIN_TEXT {
                layout.widths[widest] = room;
                layout.wrapped = Some(widest);
            } else {
                layout.columns.retain(|column| *column != widest);
            }
        }
        layout
    }

    /// The width of a line.
    fn width(&self) -> usize {
        let cells: usize = self.columns.iter().map(|column| self.widths[*column]).sum();
        cells + GAP * self.columns.len().saturating_sub(1)
    }

    /// The lines of the cell in a column. None if it is written below its row.
    fn lines<'c>(&self, column: usize, cell: &'c Cell) -> Option<Vec<std::borrow::Cow<'c, str>>> {
        let is_in_line = self.columns.contains(&column);
        if self.wrapped != Some(column) {
            return is_in_line.then(|| vec![cell.text.as_str().into()]);
        }
        let width = self.widths[column].min(self.limit);
        let fits = cell.widest_word() <= width || self.columns.first() == Some(&column);
        fits.then(|| textwrap::wrap(&cell.text, fitting(width)))
    }
}

/// Lines of this width, in which no word is broken.
fn fitting(width: usize) -> textwrap::Options<'static> {
    textwrap::Options::new(width).break_words(false).word_splitter(WordSplitter::NoHyphenation)
}

/// Writes a row: its line or lines, and below them the cells that do not fit, with their column names.
fn write_row(console: &mut Console<'_>, layout: &Layout, header: &[&str], row: &[Cell]) -> io::Result<()> {
    let colours = console.colours.out;
    let lines: Vec<_> = row.iter().enumerate().map(|(column, cell)| layout.lines(column, cell)).collect();
    let height = lines.iter().flatten().map(Vec::len).max().unwrap_or(0).max(1);
    for number in 0..height {
        let mut line = String::new();
        for &column in &layout.columns {
            let text = lines.get(column).and_then(|lines| lines.as_ref()?.get(number)).map_or("", AsRef::as_ref);
            let painted = row.get(column).map_or_else(String::new, |cell| cell.painted(text, colours));
            let padding = layout.widths[column].saturating_sub(display_width(text)) + GAP;
            line += &format!("{painted}{}", " ".repeat(padding));
        }
        writeln!(console.out, "{}", line.trim_end())?;
    }
    let is_below = |(column, cell): &(usize, &Cell)| lines[*column].is_none() && !cell.text.is_empty();
    let below = row.iter().enumerate().filter(is_below).filter(|(column, cell)| header[*column] != cell.text);
    let below: Vec<String> = below.map(|(column, cell)| named(header[column], cell, colours)).collect();
    if below.is_empty() {
        return Ok(());
    }
    let options = fitting(layout.limit).initial_indent("  ").subsequent_indent("  ");
    writeln!(console.out, "{}", textwrap::fill(&below.join(", "), options).replace(NO_BREAK, " "))
}

/// Columns whose cells are sentences. Below a row they are written without the name of the column.
const SENTENCES: [&str; 2] = ["detail", "details"];

/// A cell after its column name. A short cell stays on one line.
fn named(name: &str, cell: &Cell, colours: bool) -> String {
    let name = if SENTENCES.contains(&name) { "" } else { name };
    let text = format!("{name} {}", cell.painted(&cell.text, colours)).trim_start().to_owned();
    if name.len() + cell.text.len() > MAX_INLINE { text } else { text.replace(' ', NO_BREAK) }
}

#[cfg(test)]
mod tests {
    use super::super::output::{Colours, Output};
    use super::*;

    fn written(width: Option<u16>, colours: bool) -> String {
        let rows = [
            ["westeurope", "failed", "a sentence that is rather long and does not fit into the rest of a line"],
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
        let all = [None, Some(200), Some(94), Some(66), Some(40)]
            .map(|width| format!("{width:?}\n{}", written(width, false)));
        insta::assert_snapshot!(all.join("\n"));
    }

    /// The name of the column would be repeated below each row, and say nothing.
    #[test]
    fn details_below_a_row_are_not_named() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console { width: Some(50), ..Console::plain(Output::Table, &mut out, &mut notes) };
        let rows =
            ["eastus", "westus"].map(|place| [place.repeat(3), "failed".to_owned(), "it failed again ".repeat(3)]);
        write_table(&mut console, &["target", "state", "details"], rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("details"), "{text}");
        assert_eq!(text.matches("\n  it failed").count(), 2, "{text}");
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
