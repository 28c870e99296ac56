//! Money in whole millionths of a dollar, so that sums do not depend on the order of addition.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Serialize, Serializer};

/// Millionths in a dollar.
const MICROS: u64 = 1_000_000;

/// An amount of US dollars with a resolution of one millionth. In JSON it is a number of dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    /// Creates an amount from millionths of a dollar.
    #[must_use]
    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The amount in dollars, for ratios and for display.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact below nine billion dollars")]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }

    /// The cost of `amount` units at `micros` per `per` units, rounded to the nearest millionth.
    #[must_use]
    pub(super) fn for_units(amount: u128, micros: u64, per: u64) -> Self {
        let per = u128::from(per.max(1));
        let exact = amount.saturating_mul(u128::from(micros));
        Self(u64::try_from(exact.saturating_add(per / 2) / per).unwrap_or(u64::MAX))
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0 / 10_000 + u64::from(self.0 % 10_000 >= 5_000);
        let text = if self.0 > 0 && cents == 0 {
            "< $0.01".to_owned()
        } else {
            format!("${}.{:02}", cents / 100, cents % 100)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_rounds_once_and_displays_cents() {
        let gb = 1_000_000_000;
        assert_eq!(Money::for_units(30 * u128::from(gb), 20_000, gb), Money::micros(600_000));
        assert_eq!(Money::for_units(1, 20_000, gb), Money::default());
        let shown = [0, 1, 4_999, 5_000, 600_000, 1_234_567_890].map(|micros| Money::micros(micros).to_string());
        assert_eq!(shown, ["$0.00", "< $0.01", "< $0.01", "$0.01", "$0.60", "$1234.57"]);
    }
}
