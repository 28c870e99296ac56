//! The representations of plans: text, JSON, SVG. Pure: functions that return a string or a value.

mod json;
mod svg;
mod text;

pub use json::{json, routes_json};
pub use svg::svg;
pub use text::{ESTIMATES, GALLERIES, ROUTES, estimates, galleries, points, routes, tree};

use std::time::Duration;

pub use goldfleet_model::text::bytes;
use goldfleet_model::text::duration;

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
    fn times_are_rounded_up_to_seconds() {
        let shown = [0, 59_001, 60_000, 512_000, 7_260_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(shown, ["0 s", "1 min 00 s", "1 min 00 s", "8 min 32 s", "2 h 01 min"]);
    }
}
