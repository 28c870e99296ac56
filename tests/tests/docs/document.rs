//! A document, as a test sees it: its code blocks, and what its prose says of commands, files and headings.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// What a comment before a block says of it: `<!-- not run: why -->` or `<!-- file: NAME -->`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The commands are not run here, for this reason.
    NotRun(String),
    /// What is shown is (a part of) this file.
    File(String),
}

/// A fenced code block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Where it is: file and line.
    pub(crate) at: String,
    /// The language after the fence.
    pub(crate) language: String,
    /// What the comment before it says.
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
    /// Where each piece of code in the prose is, and what it is.
    pub(crate) spans: Vec<(String, String)>,
    /// Where each link is, and where it goes.
    pub(crate) links: Vec<(String, String)>,
    /// What links to its headings end in.
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
        // Where a test writes a table into the page.
        Some(("codes", _)) => None,
        Some(("file", name)) => Some(Mark::File(name.to_owned())),
        _ => panic!("{at}: '{says}' is no mark: 'not run: WHY' and 'file: NAME' are"),
    }
}

/// A heading's anchor, as code hosts make it.
fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase();
    lower
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
