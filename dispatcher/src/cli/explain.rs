//! `explain`.

use serde_json::json;
use textwrap::WordSplitter;

use super::error::{CommandError, DONE};
use super::output::{Console, Output, write_json};
use super::table::write_table;
use crate::control::explain::{Code, TABLES, Table, explain, similar};

/// `goldfleet explain`.
///
/// # Errors
/// [`CommandError::Unknown`] if goldfleet does not know the code.
pub fn run(code: Option<&str>, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let entries: Vec<(&Table, &Code)> = match code {
        Some(code) => explain(code).collect(),
        None => TABLES.iter().flat_map(|table| table.codes.iter().map(move |entry| (table, entry))).collect(),
    };
    if let (Some(code), true) = (code, entries.is_empty()) {
        return Err(CommandError::Unknown(unknown(code)));
    }
    if console.output == Output::Json {
        let entry = |(table, Code { codes, cause, remedy }): &(&Table, &Code)| json!({ "area": table.title, "codes": codes, "cause": cause, "remedy": remedy });
        write_json(console.out, &entries.iter().map(entry).collect::<Vec<_>>())?;
        return Ok(DONE);
    }
    let Some(code) = code else {
        let rows = entries.iter().map(|(_, entry)| [entry.codes.join(" "), entry.cause.to_owned()]);
        write_table(console, &["code", "cause"], rows)?;
        return Ok(DONE);
    };
    let width = console.width.map_or(100, usize::from);
    for (table, Code { cause, remedy, .. }) in entries {
        writeln!(console.out, "{code} ({})", table.title)?;
        for text in [format!("cause: {cause}"), format!("remedy: {remedy}")] {
            let options = textwrap::Options::new(width).break_words(false).word_splitter(WordSplitter::NoHyphenation);
            let options = options.initial_indent("  ").subsequent_indent("    ");
            writeln!(console.out, "{}", textwrap::fill(&text, options))?;
        }
    }
    Ok(DONE)
}

fn unknown(code: &str) -> String {
    match similar(code) {
        Some(similar) => format!("no code '{code}'; did you mean '{similar}'?"),
        None => format!(
            "'{code}' is not a code of goldfleet: if a failure has it, it is the service's own code in kebab case \
             ('quota-exceeded' is Azure's QuotaExceeded), and the reason and the request id of the failure say more"
        ),
    }
}
