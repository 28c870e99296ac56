//! `goldfleet`: the operator's program.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use goldfleet_dispatcher::cli::arguments::Arguments;
use goldfleet_dispatcher::cli::error::DONE;
use goldfleet_dispatcher::cli::output::Console;
use goldfleet_dispatcher::cli::run::run;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (mut out, mut notes) = (std::io::stdout(), std::io::stderr());
    let mut console = Console::standard(arguments.output, &mut out, &mut notes);
    match run(arguments, &mut console) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = error.exit_code();
            if code != DONE {
                let hint = error.hint();
                let error = anyhow::Error::from(error);
                // Standard error is all there is to complain to.
                let _ = writeln!(std::io::stderr(), "goldfleet: {error:#}");
                if let Some(hint) = hint {
                    let _ = writeln!(std::io::stderr(), "hint: {hint}");
                }
            }
            ExitCode::from(code)
        }
    }
}
