//! Words for people.

use std::fmt::Display;

/// So many of something: "1 region", "2 regions".
#[must_use]
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let ending = if number == 1.into() { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn only_one_is_one() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "VHD")), ["0 VHDs", "1 VHD", "2 VHDs"]);
    }
}
