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
}
