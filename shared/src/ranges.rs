//! Ranges of bytes.

use std::ops::Range;

/// The parts of `range` that none of `others` (in order) covers.
#[must_use]
pub fn without(range: &Range<u64>, others: &[Range<u64>]) -> Vec<Range<u64>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_left() {
        let data = [2..4, 6..8, 10..20];
        assert_eq!(without(&(0..12), &data), [0..2, 4..6, 8..10]);
        let only = |gap: Range<u64>| vec![gap];
        assert_eq!(without(&(3..7), &data), only(4..6));
        assert_eq!(without(&(12..18), &data), []);
        assert_eq!(without(&(18..25), &data), only(20..25));
        assert_eq!(without(&(0..5), &[]), only(0..5));
    }
}
