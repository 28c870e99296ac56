//! Entries by the Boot Loader Specification: one file per entry in `loader/entries`.

use std::collections::HashMap;

use super::{BootEntry, MAX_ENTRIES, compare, grub, locate};
use crate::root::Root;

/// Reads the entries of a folder, the newest first. `points` are the folders to which paths may be relative.
pub(super) fn read(
    root: &Root<'_>,
    folder: &str,
    points: &[&str],
    variables: &HashMap<String, String>,
) -> Vec<BootEntry> {
    let mut files = root.read_folder(folder, ".conf");
    files.sort_by(|(a, _), (b, _)| compare(b, a));
    files.truncate(MAX_ENTRIES);
    let parsed = files.into_iter().filter_map(|(path, text)| {
        let mut entry = parse(&text, variables)?;
        let name = path.rsplit('/').next().unwrap_or(&path);
        entry.id = name.trim_end_matches(".conf").to_owned();
        entry.source.clone_from(&path);
        locate(root, &mut entry, points);
        Some(entry)
    });
    parsed.enumerate().map(|(index, entry)| BootEntry { position: vec![index], ..entry }).collect()
}

fn parse(text: &str, variables: &HashMap<String, String>) -> Option<BootEntry> {
    let expand = |value: &str| grub::expand(value, variables);
    let all = |name: &str| -> Vec<String> {
        let values = text.lines().filter_map(|line| value(line, name)).map(expand);
        values.filter(|value| !value.trim().is_empty()).collect()
    };
    let efi = all("efi").pop().filter(|path| path.to_lowercase().contains("linux"));
    let initrds: Vec<String> =
        all("initrd").iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect();
    Some(BootEntry {
        title: all("title").pop().unwrap_or_default(),
        kernel: all("linux").pop().or(efi)?,
        initrds,
        options: all("options").join(" "),
        ..BootEntry::default()
    })
}

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.trim().strip_prefix(name)?;
    rest.starts_with(char::is_whitespace).then(|| rest.trim())
}

/// The value of a line `NAME VALUE`.
pub(super) fn field(text: &str, name: &str) -> Option<String> {
    text.lines().filter_map(|line| value(line, name)).map(str::to_owned).next_back()
}

/// Whether an entry's identifier matches a pattern of `loader.conf`, where `*` stands for any characters.
pub(super) fn matches(pattern: &str, id: &str) -> bool {
    let pattern = pattern.trim_end_matches(".conf");
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = id.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    if parts.is_empty() {
        return !pattern.is_empty() && rest.is_empty();
    }
    for (index, part) in parts.iter().enumerate() {
        if index + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    false
}
