//! The answers in the stored results of probes that apply to the places of a plan.
//!
//! An answer is used for 180 days. Of several, the newest one that is yes or no is used. A question about one place is
//! about the platform in its region, so it applies to the whole region. A question about two places depends on how
//! their subscriptions are related too, so it applies to the same subscriptions and regions only.

use goldfleet_machines::request::Place;
use goldfleet_model::ids::Region;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use jiff::{SignedDuration, Timestamp};

use super::questions::Answer;
use super::record::{self, ProbeResult};

/// The time after which a result is not used any more: the platform changes.
const VALID: SignedDuration = SignedDuration::from_hours(24 * 180);

/// The results of all probes.
#[derive(Debug, Clone)]
pub struct Known {
    results: Vec<ProbeResult>,
    now: Timestamp,
}

/// An answer that a probe gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whether it is yes.
    pub yes: bool,
    /// When the probe ended.
    pub at: Timestamp,
}

impl Known {
    /// The answers of these results at this time.
    #[must_use]
    pub fn new(results: Vec<ProbeResult>, now: Timestamp) -> Self {
        Self { results, now }
    }

    /// Reads the stored results.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn read(ports: &Ports) -> PortResult<Self> {
        let results = record::results(ports.records.as_ref()).await?;
        Ok(Self::new(results, ports.clock.now()))
    }

    /// The answer to a question about one place, for this region. None if no valid probe of the region answered it.
    #[must_use]
    pub fn in_region(&self, question: &str, region: &Region) -> Option<Found> {
        let applies = |result: &ProbeResult| {
            let first = result.places.first().and_then(|place| place.split('/').nth(1));
            first.is_some_and(|found| found.eq_ignore_ascii_case(region.as_str()))
        };
        self.newest(question, applies)
    }

    /// The answer to a question about two places, for their subscriptions and regions. None if no valid probe of them
    /// answered it.
    #[must_use]
    pub fn between(&self, question: &str, places: [&Place; 2]) -> Option<Found> {
        let same = |text: &str, place: &Place| {
            let prefix = format!("{}/{}/", place.subscription, place.region).to_ascii_lowercase();
            text.to_ascii_lowercase().starts_with(&prefix)
        };
        let applies = |result: &ProbeResult| {
            let [first, second, ..] = &result.places[..] else { return false };
            same(first, places[0]) && same(second, places[1])
        };
        self.newest(question, applies)
    }

    fn newest(&self, question: &str, applies: impl Fn(&ProbeResult) -> bool) -> Option<Found> {
        let valid = self.results.iter().filter(|result| self.now.duration_since(result.at) <= VALID);
        let answered = valid.filter(|result| applies(result)).filter_map(|result| {
            let found = result.measurements.iter().find(|found| found.id == question)?;
            let yes = match found.answer {
                Answer::Yes => true,
                Answer::No => false,
                Answer::Unmeasured => return None,
            };
            Some(Found { yes, at: result.at })
        });
        answered.max_by_key(|found| found.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::probe::questions::Measurement;

    fn place(subscription: u32, region: &str, group: &str) -> Place {
        format!("00000000-0000-0000-0000-00000000000{subscription}/{region}/{group}").parse().unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-29T00:00:00Z".parse().unwrap()
    }

    /// The result of a probe that ended some days ago.
    fn result(days: i64, answer: Answer) -> ProbeResult {
        ProbeResult {
            places: vec![place(1, "westeurope", "a").to_string(), place(2, "westeurope", "b").to_string()],
            at: now().checked_sub(SignedDuration::from_hours(24 * days)).unwrap(),
            measurements: vec![Measurement { id: "x".to_owned(), answer, detail: String::new() }],
        }
    }

    fn known(results: &[ProbeResult]) -> Known {
        Known::new(results.to_vec(), now())
    }

    /// Only a recent answer for the same subscriptions and regions counts, and a newer one replaces it.
    #[test]
    fn an_answer_about_two_places_applies_to_them_for_a_limited_time() {
        let between = |results: &[ProbeResult], from: &Place, to: &Place| {
            known(results).between("x", [from, to]).map(|found| found.yes)
        };
        let (from, to) = (place(1, "westeurope", "other"), place(2, "westeurope", "other"));
        assert_eq!(between(&[result(1, Answer::Yes)], &from, &to), Some(true));
        assert_eq!(between(&[], &from, &to), None);
        assert_eq!(between(&[result(1, Answer::Unmeasured)], &from, &to), None);
        assert_eq!(between(&[result(5, Answer::Yes), result(1, Answer::No)], &from, &to), Some(false));
        assert_eq!(between(&[result(5, Answer::No), result(1, Answer::Unmeasured)], &from, &to), Some(false));
        assert_eq!(between(&[result(200, Answer::Yes)], &from, &to), None);
        for other in [place(3, "westeurope", "b"), place(2, "eastus", "b")] {
            assert_eq!(between(&[result(1, Answer::Yes)], &from, &other), None);
        }
        assert_eq!(between(&[result(1, Answer::Yes)], &to, &from), None);
    }

    #[test]
    fn an_answer_about_one_place_applies_to_its_region() {
        let known = known(&[result(1, Answer::No)]);
        let of = |region: &str| known.in_region("x", &region.parse().unwrap()).map(|found| found.yes);
        assert_eq!((of("westeurope"), of("eastus")), (Some(false), None));
    }
}
