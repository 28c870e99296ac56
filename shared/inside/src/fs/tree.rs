//! A file system in memory, for tests of checks that do not depend on the file system.

use std::collections::BTreeMap;

use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, Stat};

#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(Vec<u8>, u32),
    Link(String),
}

/// A file system in memory.
#[derive(Debug, Clone)]
pub struct TreeFs {
    info: FsInfo,
    nodes: BTreeMap<String, Node>,
}

impl TreeFs {
    /// An empty file system.
    pub fn new(kind: FsKind, uuid: &str) -> Self {
        let info = FsInfo { kind, uuid: uuid.into(), label: String::new(), dirty: None };
        Self { info, nodes: BTreeMap::from([("/".to_owned(), Node::Directory)]) }
    }

    /// Sets the label.
    pub fn label(mut self, label: &str) -> Self {
        self.info.label = label.into();
        self
    }

    /// Marks the file system as not cleanly unmounted.
    pub fn dirty(mut self, reason: &str) -> Self {
        self.info.dirty = Some(reason.into());
        self
    }

    /// Adds a file and the folders above it. Replaces a file of the same path.
    pub fn file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.insert(path, Node::File(bytes.as_ref().to_vec(), 0o644));
        self
    }

    /// Adds a folder.
    pub fn dir(mut self, path: &str) -> Self {
        self.insert(path, Node::Directory);
        self
    }

    /// Adds a symbolic link.
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.insert(path, Node::Link(target.into()));
        self
    }

    /// Removes a path and everything below it.
    pub fn without(mut self, path: &str) -> Self {
        let below = format!("{path}/");
        self.nodes.retain(|name, _| name != path && !name.starts_with(&below));
        self
    }

    /// Adds everything below a folder of another file system, as if that folder were this file system's root.
    pub fn below(mut self, other: &Self, folder: &str) -> Self {
        for (name, node) in &other.nodes {
            if let Some(path) = name.strip_prefix(folder).filter(|path| path.starts_with('/')) {
                self.insert(path, node.clone());
            }
        }
        self
    }

    fn insert(&mut self, path: &str, node: Node) {
        let mut at = 1;
        while let Some(slash) = path[at..].find('/') {
            self.nodes.entry(path[..at + slash].to_owned()).or_insert(Node::Directory);
            at += slash + 1;
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Windows names are not case-sensitive.
    fn node(&self, path: &str) -> Result<&Node, FsError> {
        let found = match self.info.kind {
            FsKind::Fat | FsKind::Ntfs => {
                self.nodes.iter().find(|(name, _)| name.eq_ignore_ascii_case(path)).map(|(_, node)| node)
            }
            _ => self.nodes.get(path),
        };
        found.ok_or(FsError::NotFound)
    }
}

impl Node {
    fn kind(&self) -> FileKind {
        match self {
            Self::Directory => FileKind::Directory,
            Self::File(..) => FileKind::File,
            Self::Link(_) => FileKind::Symlink,
        }
    }
}

struct Open<'a>(&'a [u8]);

impl FileReader for Open<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.0.get(start..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl FileSystem for TreeFs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError> {
        let Node::Directory = self.node(path)? else { return Err(FsError::WrongKind("folder")) };
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let matches = |name: &str| match self.info.kind {
            FsKind::Fat | FsKind::Ntfs => name.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(&prefix)),
            _ => name.starts_with(&prefix),
        };
        Ok(self
            .nodes
            .iter()
            .filter(|(name, _)| name.len() > prefix.len() && matches(name) && !name[prefix.len()..].contains('/'))
            .map(|(name, node)| DirEntry { name: name[prefix.len()..].to_owned(), kind: node.kind() })
            .collect())
    }

    fn stat(&self, path: &str) -> Result<Stat, FsError> {
        let node = self.node(path)?;
        let (size, mode) = match node {
            Node::File(bytes, mode) => (bytes.len() as u64, *mode),
            Node::Link(target) => (target.len() as u64, 0o777),
            Node::Directory => (0, 0o755),
        };
        Ok(Stat { kind: node.kind(), size, mode })
    }

    fn link(&self, path: &str) -> Result<String, FsError> {
        match self.node(path)? {
            Node::Link(target) => Ok(target.clone()),
            _ => Err(FsError::WrongKind("symbolic link")),
        }
    }

    fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        match self.node(path)? {
            Node::File(bytes, _) => Ok(Box::new(Open(bytes))),
            _ => Err(FsError::WrongKind("regular file")),
        }
    }
}
