//! Collects findings.

use std::fmt::Write as _;
use std::sync::Arc;

use goldfleet_disk::{Finding, Severity};

use crate::budget::Budget;
use crate::codes::Code;

/// The most findings of one code. More are counted in a last finding, so that a hostile image cannot make a report
/// endless.
const MAX_PER_CODE: usize = 16;
/// The most characters of a message or path.
const MAX_TEXT: usize = 1000;

/// Makes text from an image safe to print: control characters, which can change a terminal, are shown as escapes, and
/// so are characters that change the direction of the text.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (count, c) in text.chars().enumerate() {
        if count == MAX_TEXT {
            out.push('…');
            break;
        }
        let directional = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || directional || c == '\u{feff}' {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The findings of one inspection.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    left_out: Vec<(&'static Code, Severity, usize)>,
    budget: Option<Arc<Budget>>,
}

impl Findings {
    /// No findings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No findings. Findings that are added after the inspection was stopped are dropped: a file that could not be read
    /// any more looks like a file that does not exist.
    #[must_use]
    pub fn within(budget: Arc<Budget>) -> Self {
        Self { budget: Some(budget), ..Self::default() }
    }

    /// Adds a finding with the code's default severity and remedy. The message may contain text from the image: it is
    /// escaped. Change the details with the builder that is returned; the finding is added when the builder is dropped.
    pub fn add(&mut self, code: &'static Code, message: impl AsRef<str>) -> Report<'_> {
        let finding = Finding {
            severity: code.severity,
            code: code.code,
            message: escape(message.as_ref()),
            remedy: code.remedy.to_owned(),
            path: None,
        };
        Report { findings: self, code, finding: Some(finding) }
    }

    /// All findings: errors first, otherwise in the order in which they were added.
    #[must_use]
    pub fn into_list(mut self) -> Vec<Finding> {
        for (code, severity, count) in self.left_out {
            self.list.push(Finding {
                severity,
                code: code.code,
                message: format!("{count} more findings of this kind are not shown"),
                remedy: String::new(),
                path: None,
            });
        }
        self.list.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.list
    }

    fn push(&mut self, code: &'static Code, finding: Finding) {
        let stopped = self.budget.as_ref().is_some_and(|budget| budget.stopped().is_some());
        if stopped || self.list.contains(&finding) {
            return;
        }
        if self.list.iter().filter(|f| f.code == finding.code).count() < MAX_PER_CODE {
            self.list.push(finding);
            return;
        }
        match self.left_out.iter_mut().find(|(known, ..)| known.code == code.code) {
            Some((_, severity, count)) => {
                *count += 1;
                *severity = (*severity).max(finding.severity);
            }
            None => self.left_out.push((code, finding.severity, 1)),
        }
    }
}

/// A finding that is being added.
#[derive(Debug)]
pub struct Report<'a> {
    findings: &'a mut Findings,
    code: &'static Code,
    finding: Option<Finding>,
}

impl Report<'_> {
    /// The file inside the disk in which it was found.
    pub fn at(mut self, path: impl AsRef<str>) -> Self {
        if let Some(finding) = &mut self.finding {
            finding.path = Some(escape(path.as_ref()));
        }
        self
    }

    /// Another severity than the code's default.
    pub fn severity(mut self, severity: Severity) -> Self {
        if let Some(finding) = &mut self.finding {
            finding.severity = severity;
        }
        self
    }

    /// A remedy for this system. Text from the image in it is escaped.
    pub fn remedy(mut self, remedy: impl AsRef<str>) -> Self {
        if let Some(finding) = &mut self.finding {
            finding.remedy = escape(remedy.as_ref());
        }
        self
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if let Some(finding) = self.finding.take() {
            self.findings.push(self.code, finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::linux::NOT_INSPECTED;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\x1b[31mb\u{9b}c\r\n\u{202e}é"), "a\\u{1b}[31mb\\u{9b}c\\r\\n\\u{202e}é");
        assert_eq!(escape(&"x".repeat(5000)).chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn the_builder_changes_the_defaults_and_escapes() {
        let mut findings = Findings::new();
        findings.add(&NOT_INSPECTED, "bad\x07").at("/etc/\x1b").severity(Severity::Error).remedy("run\x08");
        let list = findings.into_list();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].message, "bad\\u{7}");
        assert_eq!(list[0].path.as_deref(), Some("/etc/\\u{1b}"));
        assert_eq!(list[0].severity, Severity::Error);
        assert_eq!(list[0].remedy, "run\\u{8}");
    }

    #[test]
    fn findings_of_one_code_are_limited_and_not_repeated() {
        let mut findings = Findings::new();
        findings.add(&NOT_INSPECTED, "same");
        findings.add(&NOT_INSPECTED, "same");
        for i in 0..100 {
            findings.add(&NOT_INSPECTED, format!("number {i}"));
        }
        let list = findings.into_list();
        assert_eq!(list.len(), MAX_PER_CODE + 1);
        assert_eq!(list[MAX_PER_CODE].message, "85 more findings of this kind are not shown");
    }
}
