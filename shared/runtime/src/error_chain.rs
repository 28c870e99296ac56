//! Formats an error and its causes in one line.

use std::error::Error;

/// Returns the message of an error followed by those of its causes, each once: some messages already contain the cause.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !told.contains(&words) {
            told = format!("{told}: {words}");
        }
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Trouble {
        #[error("the file: {source}; name another")]
        Told { source: io::Error },
        #[error("the file")]
        Silent { source: io::Error },
    }

    #[test]
    fn error_chain_lists_each_cause_once() {
        let cause = || io::Error::other("it burns");
        assert_eq!(error_chain(&Trouble::Told { source: cause() }), "the file: it burns; name another");
        assert_eq!(error_chain(&Trouble::Silent { source: cause() }), "the file: it burns");
    }
}
