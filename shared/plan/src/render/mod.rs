//! The representations of plans: text, JSON, SVG. Pure: functions that return a string or a value.

mod json;
mod svg;
mod text;

pub use json::json;
pub use svg::svg;
pub use text::{ESTIMATES, estimates, points, tree};

use std::time::Duration;

use goldfleet_model::text::duration;

/// Formats a number of bytes for people.
#[must_use]
pub fn bytes(count: u128) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = UNITS[0];
    if count < 1024 {
        return format!("{count} B");
    }
    // Tenths of the unit as integers, so that the result is the same on every machine.
    let mut tenths = count.saturating_mul(10) / 1024;
    for next in &UNITS[1..] {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Formats a time for people, to the second.
#[must_use]
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    // A zero estimate is `0 s`. For a zero duration, `duration` returns `under a second`.
    if seconds == 0 { "0 s".to_owned() } else { duration(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_amounts_format() {
        let shown = [0, 1023, 1024, 1536, 30 << 30, u128::from(u64::MAX) * 4].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "30.0 GiB", "63.9 EiB"]);
        let shown = [0, 59_001, 60_000, 512_000, 7_260_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(shown, ["0 s", "1 min 00 s", "1 min 00 s", "8 min 32 s", "2 h 01 min"]);
    }
}
