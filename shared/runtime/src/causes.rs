//! An error in one line, as the last words of a program.

use std::error::Error;

/// What an error says, and its causes, each of them once: some errors speak of their cause themselves.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
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
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("it burns");
        assert_eq!(with_causes(&Trouble::Told { source: cause() }), "the file: it burns; name another");
        assert_eq!(with_causes(&Trouble::Silent { source: cause() }), "the file: it burns");
    }
}
