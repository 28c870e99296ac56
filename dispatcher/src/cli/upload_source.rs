//! The source of `upload`: a file, or a disk, snapshot or blob in the cloud.

use std::sync::Arc;

use goldfleet_config::Config;
use goldfleet_model::upload::Upload;
use goldfleet_ports::Ports;
use goldfleet_sources::{DiskFile, SourceLocation};
use tokio_util::sync::CancellationToken;

use super::arguments::UploadArguments;
use super::error::CommandError;
use crate::control::check::ImageChecks;
use crate::control::context::ControlContext;
use crate::control::upload::from::{CloudUploadRequest, upload_from};
use crate::control::upload::{UploadError, UploadRequest, UploadResult, upload};

/// What a command uploads.
#[derive(Debug)]
pub enum Asked {
    /// A local file.
    File(UploadRequest),
    /// A source in the cloud.
    Cloud(CloudUploadRequest),
}

impl Asked {
    /// Reads the source from the arguments.
    ///
    /// # Errors
    /// If the source is not named in a known form, or an option does not apply to it.
    pub fn of(ports: &Ports, config: &Config, arguments: &UploadArguments) -> Result<Self, CommandError> {
        let (image, version) = (arguments.image.image.clone(), arguments.image.version.clone());
        let disk = arguments.disk.options_for(&arguments.image.image, config);
        let (check, limit) = (arguments.inside.checks(disk), arguments.limit);
        match (&arguments.from, &arguments.file, arguments.os) {
            (Some(from), _, os) => {
                let url_of = |blob: &_| ports.resources.blob_url(blob);
                let from = SourceLocation::parse(from, &url_of).map_err(UploadError::from)?;
                check_options(&from, &check)?;
                Ok(Self::Cloud(CloudUploadRequest { from, image, version, os, check, limit }))
            }
            (None, Some(file), Some(os)) => {
                let source = Arc::new(DiskFile::new(file).with_data(arguments.data.files(file)?));
                Ok(Self::File(UploadRequest { source, image, version, os, check, limit }))
            }
            // The parser requires both.
            (None, ..) => Err(CommandError::Unknown("name a file and --os, or a source with --from".to_owned())),
        }
    }

    /// Uploads it.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn upload(
        &self,
        control: &ControlContext,
        watch: &(dyn Fn(&Upload) + Sync),
        stop: &CancellationToken,
    ) -> Result<UploadResult, UploadError> {
        match self {
            Self::File(request) => upload(control, request, watch, stop).await,
            Self::Cloud(request) => upload_from(control, request, watch, stop).await,
        }
    }
}

/// A managed disk has no format. A blob has one, like a file.
fn check_options(from: &SourceLocation, check: &ImageChecks) -> Result<(), CommandError> {
    if matches!(from, SourceLocation::Blob(_)) || check.disk.open.format.is_none() {
        return Ok(());
    }
    Err(CommandError::Unknown("--format is for files and blobs: a managed disk has no format".to_owned()))
}

/// The command line of this process, to run it again.
#[must_use]
pub fn command_again(arguments: impl IntoIterator<Item = String>) -> String {
    let quoted = arguments.into_iter().skip(1).map(|argument| quoted(&argument));
    std::iter::once("goldfleet".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

/// An argument as a shell reads it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_quoted_for_a_shell() {
        let arguments =
            ["/usr/bin/goldfleet", "upload", "--from", "disk:/subscriptions/1", "--note", "it's", "a b", ""];
        let line = command_again(arguments.map(str::to_owned));
        assert_eq!(line, r"goldfleet upload --from disk:/subscriptions/1 --note 'it'\''s' 'a b' ''");
    }
}
