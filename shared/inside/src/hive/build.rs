//! Makes hives for tests.

use super::{HEADER, checksum, kind};

/// A key to write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) values: Vec<(String, u32, Vec<u8>)>,
    pub(crate) children: Vec<Node>,
}

/// Which lists of subkeys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    Lf,
    Lh,
    Li,
    /// A list of "li" lists with two subkeys each.
    Ri,
}

impl Node {
    /// The key at a path, which is created if it does not exist.
    pub(crate) fn key(&mut self, path: &str) -> &mut Self {
        let mut node = self;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            let index = node.children.iter().position(|child| child.name == name).unwrap_or_else(|| {
                node.children.push(Self { name: name.to_owned(), ..Self::default() });
                node.children.len() - 1
            });
            node = &mut node.children[index];
        }
        node
    }

    /// Removes the key at a path.
    pub(crate) fn remove(&mut self, path: &str) {
        let (parent, name) = path.rsplit_once('\\').unwrap_or(("", path));
        self.key(parent).children.retain(|child| child.name != name);
    }

    fn set(&mut self, path: &str, name: &str, kind: u32, data: Vec<u8>) -> &mut Self {
        let key = self.key(path);
        key.values.retain(|(existing, _, _)| existing != name);
        key.values.push((name.to_owned(), kind, data));
        self
    }

    pub(crate) fn dword(&mut self, path: &str, name: &str, number: u32) -> &mut Self {
        self.set(path, name, kind::DWORD, number.to_le_bytes().to_vec())
    }

    pub(crate) fn string(&mut self, path: &str, name: &str, text: &str) -> &mut Self {
        self.set(path, name, kind::SZ, utf16(&format!("{text}\0")))
    }

    pub(crate) fn strings(&mut self, path: &str, name: &str, texts: &[&str]) -> &mut Self {
        let joined: String = texts.iter().map(|text| format!("{text}\0")).collect();
        self.set(path, name, kind::MULTI_SZ, utf16(&format!("{joined}\0")))
    }

    pub(crate) fn binary(&mut self, path: &str, name: &str, data: Vec<u8>) -> &mut Self {
        self.set(path, name, kind::BINARY, data)
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A hive with `root` as its root key.
pub(crate) fn hive(root: &Node, lists: Lists) -> Vec<u8> {
    let mut writer = Writer { bins: vec![0; 32], lists };
    let root = writer.node(root);
    writer.finish(root)
}

struct Writer {
    bins: Vec<u8>,
    lists: Lists,
}

impl Writer {
    fn cell(&mut self, content: &[u8]) -> u32 {
        let offset = self.bins.len();
        let length = (content.len() + 4).next_multiple_of(8);
        self.bins.extend((-i32::try_from(length).unwrap()).to_le_bytes());
        self.bins.extend(content);
        self.bins.resize(offset + length, 0);
        u32::try_from(offset).unwrap()
    }

    fn words(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.cell(&bytes)
    }

    fn node(&mut self, node: &Node) -> u32 {
        let children: Vec<u32> = node.children.iter().map(|child| self.node(child)).collect();
        let subkey_list = if children.is_empty() { u32::MAX } else { self.subkeys(&children) };
        let values: Vec<u32> = node.values.iter().map(|value| self.value(value)).collect();
        let value_list = if values.is_empty() { u32::MAX } else { self.words(&values) };
        let latin1 = node.name.chars().all(|c| u32::from(c) < 256);
        let name = name_bytes(&node.name, latin1);
        let mut record = vec![0; 0x4c];
        record[..2].copy_from_slice(b"nk");
        record[2] = if latin1 { 0x20 } else { 0 };
        put(&mut record, 0x14, u32::try_from(children.len()).unwrap());
        put(&mut record, 0x1c, subkey_list);
        put(&mut record, 0x24, u32::try_from(values.len()).unwrap());
        put(&mut record, 0x28, value_list);
        put(&mut record, 0x48, u32::try_from(name.len()).unwrap());
        record.extend(name);
        self.cell(&record)
    }

    fn list(&mut self, signature: &[u8; 2], offsets: &[u32], hints: bool) -> u32 {
        let mut record = signature.to_vec();
        record.extend(u16::try_from(offsets.len()).unwrap().to_le_bytes());
        for offset in offsets {
            record.extend(offset.to_le_bytes());
            record.extend(if hints { &[0; 4][..] } else { &[] });
        }
        self.cell(&record)
    }

    fn subkeys(&mut self, offsets: &[u32]) -> u32 {
        match self.lists {
            Lists::Lf => self.list(b"lf", offsets, true),
            Lists::Lh => self.list(b"lh", offsets, true),
            Lists::Li => self.list(b"li", offsets, false),
            Lists::Ri => {
                let lists: Vec<u32> = offsets.chunks(2).map(|two| self.list(b"li", two, false)).collect();
                self.list(b"ri", &lists, false)
            }
        }
    }

    fn value(&mut self, (name, kind, data): &(String, u32, Vec<u8>)) -> u32 {
        let length = u32::try_from(data.len()).unwrap();
        let (length, location) = match data.len() {
            0..=4 => {
                let mut inline = data.clone();
                inline.resize(4, 0);
                (length | 0x8000_0000, u32::from_le_bytes(inline.try_into().unwrap()))
            }
            5..=16_344 => (length, self.cell(data)),
            _ => (length, self.big_data(data)),
        };
        let latin1 = name.chars().all(|c| u32::from(c) < 256);
        let name = name_bytes(name, latin1);
        let mut record = b"vk".to_vec();
        record.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        for word in [length, location, *kind, u32::from(latin1)] {
            record.extend(word.to_le_bytes());
        }
        record.extend(name);
        self.cell(&record)
    }

    fn big_data(&mut self, data: &[u8]) -> u32 {
        let segments: Vec<u32> = data.chunks(16_344).map(|part| self.cell(part)).collect();
        let list = self.words(&segments);
        let mut record = b"db".to_vec();
        record.extend(u16::try_from(segments.len()).unwrap().to_le_bytes());
        record.extend(list.to_le_bytes());
        self.cell(&record)
    }

    fn finish(mut self, root: u32) -> Vec<u8> {
        let free = self.bins.len().next_multiple_of(4096) - self.bins.len();
        if free > 0 {
            self.bins.extend(i32::try_from(free).unwrap().to_le_bytes());
            self.bins.resize(self.bins.len() + free - 4, 0);
        }
        let length = u32::try_from(self.bins.len()).unwrap();
        self.bins[..4].copy_from_slice(b"hbin");
        put(&mut self.bins, 8, length);
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(b"regf");
        for (at, word) in [(4, 7), (8, 7), (0x14, 1), (0x18, 5), (0x20, 1), (0x24, root), (0x28, length), (0x2c, 1)] {
            put(&mut bytes, at, word);
        }
        seal(&mut bytes);
        bytes.extend(self.bins);
        bytes
    }
}

fn name_bytes(name: &str, latin1: bool) -> Vec<u8> {
    if latin1 { name.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect() } else { utf16(name) }
}

/// Writes a 32-bit number.
pub(crate) fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

/// Recomputes the checksum of a header.
pub(crate) fn seal(bytes: &mut [u8]) {
    let sum = checksum(bytes);
    put(bytes, 0x1fc, sum);
}
