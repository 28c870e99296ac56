//! `goldfleet`, the program for operators.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::CompleteEnv;
use goldfleet_dispatcher::cli::arguments::Arguments;
use goldfleet_dispatcher::cli::output::{Console, NoteWriter, ResultWriter};
use goldfleet_dispatcher::cli::run::run;
use goldfleet_runtime::error_chain::error_chain;

fn main() -> ExitCode {
    // This call exits if a shell asks for completions, see `goldfleet completions`.
    CompleteEnv::with_factory(Arguments::command).complete();
    let arguments = Arguments::parse();
    let (mut out, mut notes) = (ResultWriter::default(), NoteWriter::default());
    let mut console = Console::standard(arguments.output, &mut out, &mut notes);
    match run(arguments, &mut console) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let (code, hint) = (error.exit_code(), error.hint());
            // If standard error cannot be written to, the failure cannot be reported.
            let _ = writeln!(std::io::stderr(), "error: {}", error_chain(&error));
            if let Some(hint) = hint {
                let _ = writeln!(std::io::stderr(), "hint: {hint}");
            }
            ExitCode::from(code)
        }
    }
}
