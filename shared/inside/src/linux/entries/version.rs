//! Compares versions as rpm and dpkg do: numbers by value, letters by alphabet.

use std::cmp::Ordering;

/// Compares two versions.
pub(in crate::linux) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        a = a.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '~');
        b = b.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '~');
        // A tilde sorts before everything, even the end.
        match (a.starts_with('~'), b.starts_with('~')) {
            (true, true) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let digits = a.starts_with(|c: char| c.is_ascii_digit());
        if digits != b.starts_with(|c: char| c.is_ascii_digit()) {
            return if digits { Ordering::Greater } else { Ordering::Less };
        }
        let class = |c: char| if digits { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
        let split = |text: &str| text.find(|c| !class(c)).unwrap_or(text.len());
        let ((part_a, rest_a), (part_b, rest_b)) = (a.split_at(split(a)), b.split_at(split(b)));
        let order = if digits {
            let (x, y) = (part_a.trim_start_matches('0'), part_b.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            part_a.cmp(part_b)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        for (low, high) in [
            ("6.1.0-9-amd64", "6.1.0-13-amd64"),
            ("5.14.0-70.el9", "5.14.0-162.6.1.el9_1"),
            ("6.1", "6.1.1"),
            ("6.1~rc1", "6.1"),
            ("6.a", "6.1"),
            ("006", "7"),
        ] {
            assert_eq!(compare(low, high), Ordering::Less, "{low} {high}");
            assert_eq!(compare(high, low), Ordering::Greater, "{high} {low}");
        }
        assert_eq!(compare("6.1.0", "6.1.0"), Ordering::Equal);
        assert_eq!(compare("6.01", "6-1"), Ordering::Equal);
    }
}
