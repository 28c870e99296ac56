//! GRUB's configuration. Its language is a shell; this reads what `grub-mkconfig` writes, and common hand-written
//! files.
//!
//! Both branches of an `if` are read. The last assignment counts, which is right for the scripts that distributions
//! generate: the first branches are for one-time choices.

use std::collections::HashMap;

use super::{BootEntry, MAX_ENTRIES};

/// The deepest nesting of blocks.
const MAX_DEPTH: usize = 32;

/// What a configuration states.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// The menu's entries, those of submenus too.
    pub(super) entries: Vec<BootEntry>,
    /// The value of `default`.
    pub(super) default: String,
    /// Entries are read from `/boot/loader/entries`.
    pub(super) loader_spec: bool,
    /// Identifiers of file systems that are searched for.
    pub(super) searches: Vec<String>,
    /// Variables.
    pub(super) variables: HashMap<String, String>,
}

/// A block that is open.
enum Block {
    /// A menu entry, by its index.
    Entry(usize),
    /// A submenu, and the count of its entries.
    Submenu(usize),
    /// A function.
    Other,
}

/// Reads a configuration and GRUB's environment block.
pub(super) fn parse(text: &str, environment: &str) -> Config {
    let mut config = Config::default();
    for line in environment.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=') {
            config.variables.insert(name.to_owned(), value.to_owned());
        }
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut top = 0;
    for line in text.replace("\\\n", " ").lines() {
        let words = words(line);
        let Some(first) = words.first() else { continue };
        match first.as_str() {
            "menuentry" | "submenu" => open(&mut config, &mut blocks, &mut top, &words),
            "function" => blocks.push(Block::Other),
            "}" => {
                blocks.pop();
            }
            "set" | "export" => set(&mut config, words.get(1)),
            "blscfg" => config.loader_spec = true,
            "search" | "search.fs_uuid" => search(&mut config, &words),
            command => command_in_entry(&mut config, &blocks, command, &words),
        }
        if first != "menuentry" && first != "submenu" && line.trim_end().ends_with('}') && line.contains('{') {
            blocks.pop(); // a block on one line
        }
        if blocks.len() > MAX_DEPTH || config.entries.len() > MAX_ENTRIES {
            break;
        }
    }
    config.entries.retain(|entry| !entry.kernel.is_empty());
    config.default = config.variables.get("default").map(|value| expand(value, &config.variables)).unwrap_or_default();
    config
}

fn open(config: &mut Config, blocks: &mut Vec<Block>, top: &mut usize, words: &[String]) {
    let mut position: Vec<usize> = Vec::new();
    let parents: Vec<usize> =
        blocks.iter().filter_map(|b| if let Block::Submenu(n) = b { Some(*n) } else { None }).collect();
    // Each count includes the block itself, so that the position is one less.
    let inside = parents.len();
    if inside == 0 {
        position.push(*top);
        *top += 1;
    } else {
        position.push(top.saturating_sub(1));
        position.extend(parents[..inside - 1].iter().map(|n| n.saturating_sub(1)));
        position.push(parents[inside - 1]);
        if let Some(Block::Submenu(count)) = blocks.iter_mut().rev().find(|b| matches!(b, Block::Submenu(_))) {
            *count += 1;
        }
    }
    if words[0] == "submenu" {
        blocks.push(Block::Submenu(0));
        return;
    }
    // Generated files write `$menuentry_id_option 'ID'`, where the variable is `--id`.
    let id = words.iter().position(|word| word == "--id" || word == "$menuentry_id_option");
    let title = words.get(1).cloned().unwrap_or_default();
    let id = id.and_then(|at| words.get(at + 1)).cloned().unwrap_or_default();
    blocks.push(Block::Entry(config.entries.len()));
    config.entries.push(BootEntry { title, id, position, ..BootEntry::default() });
}

fn set(config: &mut Config, assignment: Option<&String>) {
    if let Some((name, value)) = assignment.and_then(|word| word.split_once('=')) {
        // `set default="${saved_entry}"` must not be replaced by its own later value: it is expanded at the end.
        config.variables.insert(name.to_owned(), value.to_owned());
    }
}

fn search(config: &mut Config, words: &[String]) {
    let by_uuid = words[0] == "search.fs_uuid" || words.iter().any(|word| word == "--fs-uuid" || word == "-u");
    if !by_uuid {
        return;
    }
    let is_identifier = |word: &&String| word.contains('-') && !word.starts_with('-') && word.len() >= 9;
    if let Some(uuid) = words[1..].iter().find(is_identifier)
        && !config.searches.contains(uuid)
        && config.searches.len() < MAX_ENTRIES
    {
        config.searches.push(uuid.clone());
    }
}

fn command_in_entry(config: &mut Config, blocks: &[Block], command: &str, words: &[String]) {
    let Some(index) = blocks.iter().rev().find_map(|b| if let Block::Entry(index) = b { Some(*index) } else { None })
    else {
        return;
    };
    let expanded: Vec<String> = words[1..].iter().map(|word| expand(word, &config.variables)).collect();
    let entry = &mut config.entries[index];
    match command {
        "linux" | "linuxefi" | "linux16" => {
            entry.kernel = expanded.first().cloned().unwrap_or_default();
            entry.options = expanded.get(1..).unwrap_or_default().join(" ");
        }
        "initrd" | "initrdefi" | "initrd16" => {
            entry.initrds = expanded.iter().flat_map(|word| word.split_whitespace()).map(str::to_owned).collect();
        }
        _ => {}
    }
}

/// Replaces `$name` and `${name}`. A variable that is not set is empty.
pub(super) fn expand(text: &str, variables: &HashMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, next) = if let Some(inside) = after.strip_prefix('{') {
            inside.split_once('}').unwrap_or((inside, ""))
        } else {
            after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()))
        };
        if name.is_empty() {
            out.push('$');
        }
        out.push_str(variables.get(name).map_or("", String::as_str));
        rest = next;
        if out.len() > 1 << 20 {
            break;
        }
    }
    out.push_str(rest);
    out
}

/// The words of a line, without quotes and comments. A block's opening brace is left out.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                for inside in chars.by_ref() {
                    if inside == c {
                        break;
                    }
                    word.push(inside);
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '#' if word.is_none() => break,
            c if c.is_whitespace() || c == ';' => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words.retain(|word| word != "{");
    words
}
