//! The codes of all findings: one static table, from which `goldfleet explain` and `docs/inside.md` are made.

/// Defines the codes of one file, and `CODES`, the list of them.
macro_rules! codes {
    ($list:literal; $($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident, $title:literal, $explanation:literal, $remedy:literal;)*) => {
        $($(#[$doc])*
        pub static $name: Code =
            Code { code: $code, severity: $severity, title: $title, explanation: $explanation, remedy: $remedy };)*
        #[doc = $list]
        pub static CODES: &[&Code] = &[$(&$name),*];
    };
}

pub mod linux;
pub mod windows;

use goldfleet_disk::Severity;

/// One kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable name in kebab case.
    pub code: &'static str,
    /// The severity unless the destination or the details of the finding change it.
    pub severity: Severity,
    /// What is wrong, in at most ten words.
    pub title: &'static str,
    /// Why it matters on Azure, how it is detected, and when the severity differs.
    pub explanation: &'static str,
    /// What to do about it, with commands.
    pub remedy: &'static str,
}

/// All codes, in the order of the documentation: Linux and general codes first.
pub fn all() -> impl Iterator<Item = &'static Code> {
    linux::CODES.iter().chain(windows::CODES).copied()
}

/// The code of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Code> {
    all().find(|code| code.code == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_kebab_case_and_complete() {
        let mut seen = HashSet::new();
        for code in all() {
            assert!(seen.insert(code.code), "{} is defined twice", code.code);
            assert!(
                code.code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                code.code
            );
            assert!(!code.title.is_empty() && code.explanation.len() > 40, "{} is not explained", code.code);
            assert!(code.severity == Severity::Note || !code.remedy.is_empty(), "{} has no remedy", code.code);
        }
    }
}
