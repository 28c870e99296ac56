//! Ranges of data.

use std::ops::Range;

/// The longest gap between two ranges that is read as well. A request takes as long as the transfer of about this many
/// bytes.
const MAX_GAP: u64 = 256 * 1024;

/// Merges ranges between which a gap is not worth a request, and cuts them at `size`. They must be in order.
pub(super) fn merged(ranges: impl IntoIterator<Item = Range<u64>>, size: u64) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let range = range.start..range.end.min(size);
        match merged.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if range.start.saturating_sub(last.end) <= MAX_GAP => last.end = range.end.max(last.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The first range that ends after `offset`, without what is before `offset`.
pub(super) fn next(ranges: &[Range<u64>], offset: u64) -> Option<Range<u64>> {
    let first = ranges.partition_point(|range| range.end <= offset);
    ranges.get(first).map(|range| range.start.max(offset)..range.end)
}

/// The parts of ranges inside of `within`, each of at most `longest` bytes.
pub(super) fn parts(ranges: &[Range<u64>], within: Range<u64>, longest: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = within.start;
    std::iter::from_fn(move || {
        let range = next(ranges, at)?;
        let end = range.end.min(within.end).min(range.start.saturating_add(longest));
        at = end;
        (range.start < end).then_some(range.start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_gaps_are_read_and_large_ones_are_not() {
        let gap = MAX_GAP;
        let ranges = [0..512, 1024..2048, 2048 + gap..4096 + gap, 4097 + 2 * gap..4608 + 2 * gap];
        assert_eq!(merged(ranges.clone(), u64::MAX), [0..4096 + gap, 4097 + 2 * gap..4608 + 2 * gap]);
        assert_eq!(merged(ranges.clone(), 1500), std::slice::from_ref(&(0..1500)));
        assert_eq!(merged(ranges, 0), []);
    }

    #[test]
    fn parts_are_inside_of_window_and_limit() {
        let ranges = [100..200, 300..1000];
        let found = |within, longest| parts(&ranges, within, longest).collect::<Vec<_>>();
        assert_eq!(found(0..50, 1000), []);
        assert_eq!(found(150..400, 1000), [150..200, 300..400]);
        assert_eq!(found(0..2000, 300), [100..200, 300..600, 600..900, 900..1000]);
        assert_eq!(found(200..300, 10), []);
        assert_eq!(next(&ranges, 250), Some(300..1000));
        assert_eq!(next(&ranges, 1000), None);
    }
}
