//! `doctor`.

use goldfleet_model::text::pluralize;
use serde_json::json;

use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use crate::control::context::ControlContext;
use crate::control::doctor::{Level, examine};

/// `goldfleet doctor`: prints one line per finding.
///
/// # Errors
/// If the targets file cannot be read, or the console cannot be written to.
pub async fn run(control: &ControlContext, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let findings = examine(control, goldfleet_connect::open_inspector(&control.config)?).await?;
    let of = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (of(Level::Error), of(Level::Warning));
    if console.output == Output::Json {
        write_json(console.out, &json!({ "errors": errors, "warnings": warnings, "findings": findings }))?;
    } else {
        for finding in &findings {
            let code = if finding.code.is_empty() { String::new() } else { format!(" [{}]", finding.code) };
            let level = console.word(finding.level, &format!("{:<7}", finding.level));
            writeln!(console.out, "{level} {}{code}: {}", finding.subject, finding.message)?;
            if !finding.remedy.is_empty() {
                writeln!(console.out, "        {}", finding.remedy)?;
            }
        }
        let (errors, warnings) = (pluralize(errors, "error"), pluralize(warnings, "warning"));
        writeln!(console.notes, "{errors}, {warnings} in {}", pluralize(findings.len(), "finding"))?;
    }
    Ok(if errors > 0 { FAILED } else { DONE })
}
