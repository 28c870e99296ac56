//! Where the disk of an upload comes from, if it is not a local file.

use serde::{Deserialize, Serialize};

use super::image::ImageRef;
use super::resource::ResourceId;

/// The origin of an uploaded disk. It is a part of the upload's row and not of the manifest: the digest of a manifest
/// identifies the content, and equal disks from different places are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The source as the operator named it, such as `snapshot:/subscriptions/…`.
    pub source: String,
    /// The unique id of the disk or snapshot. No other resource ever has it, even if it gets the same name. For a blob,
    /// its ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The id that all incremental snapshots of one disk share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family_id: Option<String>,
    /// The version whose manifest has what this upload did not read, because the service lists it as unchanged. None if
    /// everything was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<ImageRef>,
    /// The temporary snapshot that is read instead of an attached disk. This upload deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary: Option<ResourceId>,
    /// The temporary snapshots of the other disks of a machine. This upload deletes them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_temporaries: Vec<ResourceId>,
}

impl Origin {
    /// All temporary snapshots.
    pub fn temporaries(&self) -> impl Iterator<Item = &ResourceId> {
        self.temporary.iter().chain(&self.more_temporaries)
    }

    /// Adds a temporary snapshot.
    pub fn add_temporary(&mut self, id: ResourceId) {
        match self.temporary {
            None => self.temporary = Some(id),
            Some(_) => self.more_temporaries.push(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_without_a_value_are_omitted() {
        let origin = Origin { source: "blob:account/container/name".to_owned(), ..Origin::default() };
        let text = serde_json::to_string(&origin).unwrap();
        assert_eq!(text, r#"{"source":"blob:account/container/name"}"#);
        assert_eq!(serde_json::from_str::<Origin>(&text).unwrap(), origin);
    }
}
