//! Text formatting for people.

use std::fmt::{self, Display, Formatter};
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

/// A number of bytes with two digits after the point, rounded half up, such as `1023 B`, `1.52 MiB` or `30.00 GiB`. The
/// dashboard has the same function in `words.js`.
#[must_use]
pub fn bytes(count: u128) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    /// Hundredths of a unit at which the next unit begins.
    const NEXT: u128 = 102_400;
    if count < 1024 {
        return format!("{count} B");
    }
    let hundredths = |exponent: u32| {
        let unit = 1024_u128.saturating_pow(exponent);
        (count.saturating_mul(100).saturating_add(unit / 2)) / unit
    };
    let last = UNITS[UNITS.len() - 1];
    let units = (1_u32..).zip(UNITS);
    let fitting = units
        .map(|(exponent, unit)| (hundredths(exponent), unit))
        .find(|(hundredths, unit)| *hundredths < NEXT || *unit == last);
    let (hundredths, unit) = fitting.unwrap_or((count, last));
    format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100)
}

/// A number of bytes, shown as [`bytes()`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanBytes(
    /// The bytes.
    pub u64,
);

impl Display for HumanBytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&bytes(self.0.into()))
    }
}

/// Formats a number with a noun in singular or plural: "1 region", "2 regions", "3 copies".
#[must_use]
pub fn pluralize<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    match (number == 1.into(), noun.strip_suffix('y')) {
        (true, _) => format!("{number} {noun}"),
        (false, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        (false, _) => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HumanBytes, bytes, duration, pluralize};

    #[test]
    fn a_duration_has_two_units() {
        let shown = [0, 28, 302, 11_100, 187_200].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(shown, ["under a second", "28 s", "5 min 02 s", "3 h 05 min", "2 d 04 h"]);
    }

    #[test]
    fn bytes_have_two_digits() {
        const MIB: u128 = 1 << 20;
        let counts = [0, 1023, 1024, 1536, MIB - 1, MIB * 9 / 8, 1_588_736, 30 << 30, u128::from(u64::MAX) * 4];
        let shown =
            ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "1.00 MiB", "1.13 MiB", "1.52 MiB", "30.00 GiB", "64.00 EiB"];
        assert_eq!(counts.map(bytes), shown);
        assert_eq!(HumanBytes(30 << 30).to_string(), "30.00 GiB");
    }

    #[test]
    fn pluralize_uses_singular_for_one_only() {
        assert_eq!([0, 1, 2].map(|number| pluralize(number, "VHD")), ["0 VHDs", "1 VHD", "2 VHDs"]);
        assert_eq!([pluralize(1, "copy"), pluralize(3, "copy"), pluralize(2, "day")], ["1 copy", "3 copies", "2 days"]);
    }
}
