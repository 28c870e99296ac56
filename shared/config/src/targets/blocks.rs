//! Cuts a targets file into blocks of whole tables.
//!
//! The tree of a parsed file takes about ten times the file's size. A file with 50,000 targets is therefore parsed
//! block by block.

/// The size from which the next header begins a new block.
const BLOCK_BYTES: usize = 64 << 10;

/// A part of a file that begins with a header such as `[[target]]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// The number of lines before the block.
    pub(super) lines_before: usize,
    /// The text.
    pub(super) text: &'a str,
}

/// The blocks of a file. None if the file is small, or if something other than comments precedes the first header. Then
/// it is parsed as a whole.
///
/// A header inside of a string or an array of several lines also begins a block. The block before it then ends inside
/// of that value, and is not valid TOML.
pub(super) fn blocks(text: &str) -> Option<Vec<Block<'_>>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() < BLOCK_BYTES {
        return None;
    }
    let mut blocks = Vec::new();
    let (mut start, mut offset) = (None, 0);
    for (line_number, line) in text.split_inclusive('\n').enumerate() {
        let written = line.trim_start();
        if written.starts_with("[[") {
            match start {
                None => start = Some((offset, line_number)),
                Some((begin, lines_before)) if offset - begin >= BLOCK_BYTES => {
                    blocks.push(Block { lines_before, text: &text[begin..offset] });
                    start = Some((offset, line_number));
                }
                Some(_) => {}
            }
        } else if start.is_none() && !written.is_empty() && !written.starts_with('#') {
            return None;
        }
        offset += line.len();
    }
    let (begin, lines_before) = start?;
    blocks.push(Block { lines_before, text: &text[begin..] });
    Some(blocks)
}
