//! Text formatting for people.

use std::fmt::Display;
use std::time::Duration;

/// Formats a duration with its two largest units, such as `28 s`, `5 min 02 s`, `3 h 05 min` or `2 d 04 h`. The
/// dashboard has the same function in `words.js`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => "under a second".to_owned(),
        (0, 0, 0, _) => format!("{seconds} s"),
        (0, 0, ..) => format!("{minutes} min {:02} s", seconds % 60),
        (0, ..) => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{days} d {:02} h", hours % 24),
    }
}

/// Formats a number with a noun in singular or plural: "1 region", "2 regions".
#[must_use]
pub fn pluralize<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let ending = if number == 1.into() { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, pluralize};

    #[test]
    fn a_duration_has_two_units() {
        let shown = [0, 28, 302, 11_100, 187_200].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(shown, ["under a second", "28 s", "5 min 02 s", "3 h 05 min", "2 d 04 h"]);
    }

    #[test]
    fn pluralize_uses_singular_for_one_only() {
        assert_eq!([0, 1, 2].map(|number| pluralize(number, "VHD")), ["0 VHDs", "1 VHD", "2 VHDs"]);
    }
}
