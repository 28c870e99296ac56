//! Runs: where the clusters of an attribute are.

use super::damaged;
use crate::fs::FsError;

/// The most runs of one attribute: 8 MB in memory.
const MAX_RUNS: usize = 1 << 18;

/// Clusters that follow each other on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Index of the first cluster in the attribute.
    pub(super) first: u64,
    /// The first cluster on the disk; `None`: the run is a hole of zeros.
    pub(super) cluster: Option<u64>,
    pub(super) count: u64,
}

/// Runs without gaps, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    /// Number of clusters, holes included.
    pub(super) fn clusters(&self) -> u64 {
        self.0.last().map_or(0, |run| run.first + run.count)
    }

    /// Number of runs.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The run that contains a cluster of the attribute.
    pub(super) fn find(&self, index: u64) -> Option<Run> {
        let run = self.0[..self.0.partition_point(|run| run.first <= index)].last()?;
        (index - run.first < run.count).then_some(*run)
    }

    /// Decodes runs and appends them. `volume` is the number of clusters of the volume.
    pub(super) fn append(&mut self, mut encoded: &[u8], volume: u64) -> Result<(), FsError> {
        let mut cluster: i64 = 0;
        while let Some((&header, rest)) = encoded.split_first().filter(|(header, _)| **header != 0) {
            let (length, offset) = (usize::from(header & 15), usize::from(header >> 4));
            let (Some(count), Some(delta)) = (rest.get(..length), rest.get(length..length + offset)) else {
                return Err(damaged("a list of runs is cut off"));
            };
            let count = signed(count).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
            let count = count.ok_or_else(|| damaged("the length of a run is invalid"))?;
            let place = if offset == 0 {
                None
            } else {
                cluster = signed(delta).and_then(|delta| cluster.checked_add(delta)).unwrap_or(-1);
                let start = u64::try_from(cluster)
                    .ok()
                    .filter(|start| start.checked_add(count).is_some_and(|end| end <= volume));
                Some(start.ok_or_else(|| damaged("a run is not on the volume"))?)
            };
            self.push(place, count)?;
            encoded = &rest[length + offset..];
        }
        Ok(())
    }

    fn push(&mut self, cluster: Option<u64>, count: u64) -> Result<(), FsError> {
        let first = self.clusters();
        if first.checked_add(count).is_none() {
            return Err(damaged("an attribute is too long"));
        }
        if self.0.len() == MAX_RUNS {
            return Err(FsError::Unsupported("a file of more than 262,144 fragments".into()));
        }
        self.0.push(Run { first, cluster, count });
        Ok(())
    }
}

/// A signed little-endian number of at most 8 bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last()? & 0x80 != 0;
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoded: &[u8]) -> Result<Runs, FsError> {
        let mut runs = Runs::default();
        runs.append(encoded, 1000).map(|()| runs)
    }

    #[test]
    fn offsets_are_relative_and_holes_have_none() {
        let runs = decode(&[0x21, 5, 100, 0, 0x01, 7, 0x11, 3, 0xf6, 0]).unwrap();
        assert_eq!(runs.find(0), Some(Run { first: 0, cluster: Some(100), count: 5 }));
        assert_eq!(runs.find(5), Some(Run { first: 5, cluster: None, count: 7 }));
        assert_eq!(runs.find(14), Some(Run { first: 12, cluster: Some(90), count: 3 }));
        assert_eq!(runs.find(15), None);
        assert_eq!((runs.clusters(), runs.len()), (15, 3));
    }

    #[test]
    fn invalid_runs_are_refused() {
        let cases: [&[u8]; 7] = [
            &[0x21, 5],
            &[0x11, 0, 5],
            &[0x11, 0xff, 5],
            &[0x11, 5, 0xff],
            &[0x21, 5, 0xe4, 3],
            &[0x99, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x08, 255, 255, 255, 255, 255, 255, 255, 127, 0x08, 255, 255, 255, 255, 255, 255, 255, 127, 0x01, 2],
        ];
        for encoded in cases {
            assert!(decode(encoded).is_err(), "{encoded:?}");
        }
        assert!(decode(&[0x21, 5, 0xe3, 3]).is_ok(), "the last clusters of the volume");
    }
}
