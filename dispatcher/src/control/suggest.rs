//! Suggestions in messages: command lines, and names that were most likely meant.

use goldfleet_model::job::{Job, Subject};
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

/// The command line that requests a job's work again, and continues the job if it is open.
#[must_use]
pub fn resume_command(job: &Job) -> String {
    match &job.subject {
        Subject::Image { image, delivery, .. } => {
            let command = match delivery {
                Some(delivery) => format!("dispatch {}", delivery.options),
                None => "dispatch".to_owned(),
            };
            command_line(&command, image.name.as_str(), image.version.as_str(), &job.selection)
        }
        Subject::Work { work } => work.resume.clone(),
    }
}

/// The known name that is most similar to an unknown one. None if no name is similar.
#[must_use]
pub fn similar<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    let closest = known.into_iter().min_by_key(distance)?;
    // A third of the letters. If more letters differ, another name is more likely than a typing error.
    (distance(&closest) * 3 <= closest.len()).then_some(closest)
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
