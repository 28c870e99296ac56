//! `doctor`.

use goldfleet_model::words::counted;
use serde_json::json;

use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use crate::control::desk::Desk;
use crate::control::doctor::{Level, examine};

/// `goldfleet doctor`: a line for each finding.
///
/// # Errors
/// Where the targets file can't be read, or the console not written to.
pub async fn run(desk: &Desk, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let findings = examine(desk, goldfleet_connect::open_inspector(&desk.config)?).await?;
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
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        writeln!(console.notes, "{errors}, {warnings} in {}", counted(findings.len(), "finding"))?;
    }
    Ok(if errors > 0 { FAILED } else { DONE })
}
