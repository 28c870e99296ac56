//! Which targets a command is for.

use clap::Args;
use clap_complete::ArgValueCompleter;
use goldfleet_model::selector::Selector;

use crate::cli::complete;

/// Which targets a command is for: all enabled ones where nothing is given.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectionArguments {
    /// Only targets that match: a glob such as 'west*', or terms such as 'ring=0,tag.env=prod'; can be given several
    /// times
    #[arg(long = "target", value_name = "SELECTOR", add = ArgValueCompleter::new(complete::selectors))]
    pub targets: Vec<Selector>,
    /// Only targets of this ring; can be given several times or with commas
    #[arg(long = "ring", value_name = "NUMBER", value_delimiter = ',')]
    pub rings: Vec<u32>,
}

impl SelectionArguments {
    /// The selectors: a target must match one of `--target` and be in one of the rings of `--ring`.
    #[must_use]
    pub fn selectors(&self) -> Vec<Selector> {
        // A selector is a conjunction, and a list of selectors a disjunction: so each pair becomes one selector.
        let rings = self.rings.iter().map(|ring| format!("ring={ring}"));
        let texts: Vec<String> = match (self.targets.as_slice(), self.rings.is_empty()) {
            (targets, true) => return targets.to_vec(),
            ([], false) => rings.collect(),
            (targets, false) => {
                rings.flat_map(|ring| targets.iter().map(move |target| format!("{target},{ring}"))).collect()
            }
        };
        // Each text consists of selectors that were parsed before, so none is refused.
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_and_selectors_are_combined() {
        let selection = |targets: &[&str], rings: &[u32]| SelectionArguments {
            targets: targets.iter().map(|text| text.parse().unwrap()).collect(),
            rings: rings.to_vec(),
        };
        let texts = |targets, rings| {
            selection(targets, rings).selectors().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(texts(&[], &[]), "");
        assert_eq!(texts(&["west*"], &[]), "west*");
        assert_eq!(texts(&[], &[0, 2]), "ring=0 ring=2");
        assert_eq!(texts(&["west*", "tag.env=prod"], &[1]), "west*,ring=1 tag.env=prod,ring=1");
    }
}
