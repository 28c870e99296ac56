//! Which published versions a pass of the reconciler checks. Each check reads a version, so a pass checks a limited
//! number, in turn.

/// A version that may be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched<'a> {
    /// The name of its record. Names order the versions.
    pub name: &'a str,
    /// Whether a wanted region is not ready, so that a check may find a change.
    pub is_underway: bool,
}

/// Where the last pass ended. Without it, a pass begins with the first version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rota {
    underway: Option<String>,
    settled: Option<String>,
}

impl Rota {
    /// The versions of the next pass, at most `limit`. `all` is sorted by name.
    ///
    /// At most half of them are versions that are under way, if there are enough others, so that neither delays the
    /// other one.
    pub fn next<'a>(&mut self, all: &[Watched<'a>], limit: usize) -> Vec<&'a str> {
        let names = |is_underway: bool| -> Vec<&'a str> {
            all.iter().filter(|version| version.is_underway == is_underway).map(|version| version.name).collect()
        };
        let (underway, settled) = (names(true), names(false));
        let of_settled = settled.len().min(limit - limit / 2);
        let mut chosen = take(&underway, &mut self.underway, limit - of_settled);
        let left = limit - chosen.len();
        chosen.extend(take(&settled, &mut self.settled, left));
        chosen
    }
}

/// The next `count` names after the last one, from the begin again at the end.
fn take<'a>(names: &[&'a str], last: &mut Option<String>, count: usize) -> Vec<&'a str> {
    let first = last.as_deref().map_or(0, |last| names.partition_point(|name| *name <= last));
    let chosen: Vec<&str> = names[first..].iter().chain(&names[..first]).take(count).copied().collect();
    *last = chosen.last().map(|name| (*name).to_owned());
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(count: usize, is_underway: bool) -> Vec<String> {
        (0..count).map(|n| format!("{}{n:03}", if is_underway { "u" } else { "s" })).collect()
    }

    #[test]
    fn all_versions_are_checked_in_turn() {
        let (underway, settled) = (watched(7, true), watched(25, false));
        let of = |names: &'static str| move |name: &&String| name.starts_with(names);
        let all: Vec<Watched> =
            settled.iter().chain(&underway).map(|name| Watched { name, is_underway: of("u")(&name) }).collect();
        let (mut rota, mut seen) = (Rota::default(), Vec::new());
        for _ in 0..5 {
            let chosen = rota.next(&all, 10);
            assert_eq!(chosen.len(), 10);
            assert_eq!(chosen.iter().filter(|name| name.starts_with('u')).count(), 5);
            seen.extend(chosen);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all.len(), "5 passes of 5 settled versions check all 25");
    }

    #[test]
    fn few_versions_are_all_checked_at_each_pass() {
        let names = watched(6, false);
        let all: Vec<Watched> = names.iter().map(|name| Watched { name, is_underway: false }).collect();
        let mut rota = Rota::default();
        for _ in 0..3 {
            let mut chosen = rota.next(&all, 10);
            chosen.sort_unstable();
            assert_eq!(chosen, names);
        }
        assert!(rota.next(&[], 10).is_empty());
        let mixed: Vec<Watched> = names.iter().map(|name| Watched { name, is_underway: true }).collect();
        assert_eq!(rota.next(&mixed, 4).len(), 4, "without settled versions, all are for those under way");
    }
}
