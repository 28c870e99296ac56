//! Command lines that messages suggest.

use goldfleet_model::selector::Selector;

/// The command line that runs `command` for an image version and a selection of targets.
#[must_use]
pub fn command_line(command: &str, image: &str, version: &str, selection: &[Selector]) -> String {
    let mut line = format!("goldfleet {command} --image {image} --version {version}");
    for selector in selection {
        // A selector may contain characters that a shell expands.
        line += &format!(" --target '{}'", selector.to_string().replace('\'', r"'\''"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_command_is_quoted_for_a_shell() {
        let selection = ["west*", "tag.owner=O'Hara"].map(|text| text.parse().unwrap());
        let line = command_line("dispatch", "ubuntu", "1", &selection);
        assert_eq!(
            line,
            r"goldfleet dispatch --image ubuntu --version 1 --target 'west*' --target 'tag.owner=O'\''Hara'"
        );
    }
}
