//! `promote`.

use serde_json::json;

use super::arguments::PromoteArguments;
use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use crate::control::context::ControlContext;
use crate::control::galleries::promote::{PromoteError, PromoteRequest, promote};

/// `goldfleet promote`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    arguments: &PromoteArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let PromoteArguments { image, backwards } = arguments;
    let request = PromoteRequest { image: image.image.clone(), version: image.version.clone(), backwards: *backwards };
    let promotion = match promote(control, &request).await {
        Ok(promotion) => promotion,
        Err(PromoteError::Control(error)) => return Err(error.into()),
        Err(PromoteError::NotReady(faults)) => {
            if console.output == Output::Json {
                write_json(
                    console.out,
                    &json!({ "image": request.image, "version": request.version, "faults": faults }),
                )?;
            } else {
                for fault in &faults {
                    writeln!(console.out, "{fault}")?;
                }
            }
            writeln!(console.notes, "{} {} was not promoted", request.image, request.version)?;
            return Ok(FAILED);
        }
    };
    if console.output == Output::Json {
        let (image, version) = (&request.image, &request.version);
        write_json(console.out, &json!({ "image": image, "version": version, "galleries": promotion.galleries }))?;
        return Ok(DONE);
    }
    for gallery in &promotion.galleries {
        let before = match &gallery.before {
            _ if gallery.unchanged => "was promoted before".to_owned(),
            Some(before) => format!("the previous latest version is {before}"),
            None => "there was no latest version before".to_owned(),
        };
        writeln!(console.out, "{} is the latest version in {}; {before}", gallery.version, gallery.regions.join(", "))?;
    }
    Ok(DONE)
}
