//! A parsed document: its code blocks, and the commands, files and headings in its prose.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// The comment before a block: `<!-- not run: why -->` or `<!-- file: NAME -->`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The commands are not run, for this reason.
    NotRun(String),
    /// The block shows this file, or a part of it.
    File(String),
}

/// A fenced code block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its position: file and line.
    pub(crate) at: String,
    /// The language after the fence.
    pub(crate) language: String,
    /// The comment before it.
    pub(crate) mark: Option<Mark>,
    /// Its text.
    pub(crate) text: String,
}

/// A Markdown document.
#[derive(Debug)]
pub(crate) struct Document {
    /// Its file.
    pub(crate) path: PathBuf,
    /// Its fenced code blocks, in order.
    pub(crate) blocks: Vec<Block>,
    /// The position and the text of each inline code span.
    pub(crate) spans: Vec<(String, String)>,
    /// The position and the target of each link.
    pub(crate) links: Vec<(String, String)>,
    /// The anchors of its headings.
    pub(crate) anchors: HashSet<String>,
}

impl Document {
    /// Reads a document.
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut document = Self {
            path: path.to_owned(),
            blocks: Vec::new(),
            spans: Vec::new(),
            links: Vec::new(),
            anchors: HashSet::new(),
        };
        let (mut mark, mut block, mut heading) = (None, None::<Block>, None::<String>);
        let tables = pulldown_cmark::Options::ENABLE_TABLES;
        for (event, range) in Parser::new_ext(&text, tables).into_offset_iter() {
            let at = || format!("{name}:{}", text[..range.start].matches('\n').count() + 1);
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.to_string(),
                        CodeBlockKind::Indented => panic!("{}: an indented block: fence it", at()),
                    };
                    block = Some(Block { at: at(), language, mark: mark.take(), text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => document.blocks.extend(block.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => document.anchors.extend(heading.take().map(|text| anchor(&text))),
                Event::Start(Tag::Link { dest_url, .. }) => document.links.push((at(), dest_url.to_string())),
                Event::Html(html) | Event::InlineHtml(html) => mark = self::mark(html.trim(), &at()).or(mark),
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    document.spans.push((at(), code.to_string()));
                }
                _ => {}
            }
        }
        assert_eq!(mark, None, "{name}: no block follows this mark");
        document
    }
}

fn mark(comment: &str, at: &str) -> Option<Mark> {
    let says = comment.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    if says == "end of codes" {
        return None;
    }
    match says.split_once(": ") {
        Some(("not run", why)) => Some(Mark::NotRun(why.to_owned())),
        // A place in the page into which a test writes a table.
        Some(("codes", _)) => None,
        Some(("file", name)) => Some(Mark::File(name.to_owned())),
        _ => panic!("{at}: '{says}' is no mark: 'not run: WHY' and 'file: NAME' are"),
    }
}

/// The anchor of a heading, as code hosting sites generate it.
fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase();
    lower
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
