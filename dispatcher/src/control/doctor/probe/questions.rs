//! What the probe measures. None of it is documented by Microsoft.

use serde::{Deserialize, Serialize};

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Not known: a place or a right is missing, or the service failed.
    Unmeasured,
}

impl Answer {
    /// The answer for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unmeasured => "not measured",
        }
    }
}

/// A question, by its stable id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The id in JSON and in records.
    pub id: &'static str,
    /// The question for people.
    pub text: &'static str,
}

const fn question(id: &'static str, text: &'static str) -> Question {
    Question { id, text }
}

/// The id of the question that decides how syncs copy to another subscription in the same region.
pub const COPY_ACROSS_SUBSCRIPTIONS: &str = "copy-across-subscriptions";

/// The id of the question that decides this if Copy does not work or was not measured.
pub const COPY_START_IN_REGION: &str = "copy-start-in-region";

/// The id of the question that decides whether something is copied to another subscription and region.
pub const COPY_START_ACROSS_SUBSCRIPTIONS: &str = "copy-start-across-subscriptions";

/// The id of the question that decides whether copies may name a disk encryption set.
pub const ENCRYPTION_SET_AT_COPY: &str = "encryption-set-at-copy";

/// The id of the question that decides whether images are created from temporary snapshots.
pub const IMAGE_OUTLIVES_SNAPSHOT: &str = "image-outlives-snapshot";

/// The id of the question that decides whether managed images are read through temporary gallery versions.
pub const GALLERY_SHALLOW_DISK: &str = "gallery-shallow-disk";

/// All questions, in the order of the report.
pub const QUESTIONS: [Question; 20] = [
    question("rights", "does the identity have the rights that goldfleet's functions need here"),
    question("page-crc64", "does a write to an upload disk verify a CRC-64"),
    question("page-md5-returned", "does the response to a write have the Content-MD5"),
    question("page-source-md5", "does a write from a URL verify the source's MD5"),
    question("page-block-blob", "is a block blob a source of writes"),
    question("sas-renewal", "does a second beginGetAccess keep the first SAS valid"),
    question("sas-expiry", "does a disk return to its earlier state when its SAS expires"),
    question("image-from-incremental", "is an image created from an incremental snapshot"),
    question(IMAGE_OUTLIVES_SNAPSHOT, "is the image usable after its snapshot is deleted"),
    question("image-across-subscriptions", "is an image created from a snapshot of another subscription"),
    question(COPY_ACROSS_SUBSCRIPTIONS, "does Copy create an incremental snapshot in another subscription"),
    question(COPY_START_IN_REGION, "does CopyStart copy inside a region"),
    question(COPY_START_ACROSS_SUBSCRIPTIONS, "does CopyStart copy to another subscription"),
    question("copy-start-at-once", "do two copies of one snapshot run at the same time"),
    question("copy-start-two-regions", "are copies to two regions made at the same time"),
    question("copy-start-from-copy", "does CopyStart copy a copy"),
    question(ENCRYPTION_SET_AT_COPY, "does Copy set a disk encryption set"),
    question("gallery-from-incremental", "is a gallery version created from an incremental snapshot"),
    question(GALLERY_SHALLOW_DISK, "is a disk created from a shallow gallery version"),
    question("auxiliary-tokens", "does an auxiliary token permit copies between tenants"),
];

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// The id of the question.
    pub id: String,
    /// The answer.
    pub answer: Answer,
    /// What was observed, or why nothing was.
    pub detail: String,
}
