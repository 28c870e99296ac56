//! Byte ranges.

use std::ops::Range;

/// Returns the parts of `range` that none of `others` covers. `others` must be sorted.
#[must_use]
pub fn subtract(range: &Range<u64>, others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut at = range.start;
    let first = others.partition_point(|other| other.end <= range.start);
    for other in others[first..].iter().take_while(|other| other.start < range.end) {
        if at < other.start {
            parts.push(at..other.start);
        }
        at = at.max(other.end);
    }
    if at < range.end {
        parts.push(at..range.end);
    }
    parts
}

/// Splits a range into pieces of at most `most` bytes, in order. Each piece is an offset and a length in bytes.
pub fn split(range: &Range<u64>, most: usize) -> impl Iterator<Item = (u64, usize)> + use<> {
    let Range { start: mut at, end } = *range;
    std::iter::from_fn(move || {
        let length = usize::try_from(end.saturating_sub(at)).map_or(most, |left| left.min(most));
        let piece = (at, length);
        at += length as u64;
        (length > 0).then_some(piece)
    })
}

/// The longest gap between two ranges that a request transfers as well. A request takes as long as the transfer of about this many
/// bytes.
pub const MAX_GAP: u64 = 256 * 1024;

/// Merges ranges between which a gap is not worth a request, and cuts them at `size`. They must be in order.
#[must_use]
pub fn merged(ranges: impl IntoIterator<Item = Range<u64>>, size: u64) -> Vec<Range<u64>> {
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
#[must_use]
pub fn next(ranges: &[Range<u64>], offset: u64) -> Option<Range<u64>> {
    let first = ranges.partition_point(|range| range.end <= offset);
    ranges.get(first).map(|range| range.start.max(offset)..range.end)
}

/// The parts of ranges inside of `within`, each of at most `longest` bytes.
pub fn parts(ranges: &[Range<u64>], within: Range<u64>, longest: u64) -> impl Iterator<Item = Range<u64>> {
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
    fn subtract_returns_gaps() {
        let data = [2..4, 6..8, 10..20];
        assert_eq!(subtract(&(0..12), &data), [0..2, 4..6, 8..10]);
        let only = |gap: Range<u64>| vec![gap];
        assert_eq!(subtract(&(3..7), &data), only(4..6));
        assert_eq!(subtract(&(12..18), &data), []);
        assert_eq!(subtract(&(18..25), &data), only(20..25));
        assert_eq!(subtract(&(0..5), &[]), only(0..5));
    }

    #[test]
    fn split_covers_range() {
        let of = |range: Range<u64>, most| split(&range, most).collect::<Vec<_>>();
        assert_eq!(of(3..10, 3), [(3, 3), (6, 3), (9, 1)]);
        assert_eq!(of(3..9, 3), [(3, 3), (6, 3)]);
        assert_eq!(of(3..3, 3), []);
        assert_eq!(of(u64::MAX - 1..u64::MAX, 3), [(u64::MAX - 1, 1)]);
    }

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

    #[test]
    fn small_gaps_are_written_and_the_footer_is_not() {
        let ranges = vec![0..512, 1024..2048, 2048 + MAX_GAP + 1..4096 + MAX_GAP];
        assert_eq!(merged(ranges.clone(), u64::MAX), [0..2048, 2049 + MAX_GAP..4096 + MAX_GAP]);
        assert_eq!(merged(ranges, 1500), std::slice::from_ref(&(0..1500)));
    }
}
