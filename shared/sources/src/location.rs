//! How an operator names a source.

use std::fmt;

use goldfleet_model::ids::InvalidName;
use goldfleet_model::resource::{ResourceId, ResourceType, VersionRef};
use goldfleet_model::store::BlobAddress;

use crate::codes::{self, Refusal};

/// A source in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceLocation {
    /// A blob, read by token.
    Blob(BlobAddress),
    /// A managed disk.
    Disk(ResourceId),
    /// A snapshot.
    Snapshot(ResourceId),
    /// A managed image, with all its disks.
    Image(ResourceId),
    /// A gallery version, with all its disks.
    Gallery(VersionRef),
    /// A virtual machine, with all its disks.
    Machine(ResourceId),
}

impl SourceLocation {
    /// Parses `blob:…`, `disk:ID`, `snapshot:ID`, `image:ID`, `gallery:ID` or `vm:ID`. A blob is named by its URL, for
    /// which `url_of` gives the URL of an address, or as `ACCOUNT/CONTAINER/NAME`. The id of a resource alone is read
    /// by its type: builders such as Packer print that.
    ///
    /// # Errors
    /// [`codes::NAME_INVALID`]. The error does not contain the query of a URL, which may be a signature.
    pub fn parse(text: &str, url_of: &dyn Fn(&BlobAddress) -> String) -> Result<Self, Refusal> {
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        let refuse = |reason: &str| Refusal::new(&codes::NAME_INVALID, shown, reason);
        match text.split_once(':') {
            Some(("blob", blob)) => parse_blob(blob, url_of).map(Self::Blob).map_err(|reason| refuse(&reason)),
            Some(("disk", id)) => parse_id(id, ResourceType::Disk).map(Self::Disk).map_err(|reason| refuse(&reason)),
            Some(("snapshot", id)) => {
                parse_id(id, ResourceType::Snapshot).map(Self::Snapshot).map_err(|reason| refuse(&reason))
            }
            Some(("image", id)) => parse_id(id, ResourceType::Image).map(Self::Image).map_err(|reason| refuse(&reason)),
            Some(("gallery", id)) => {
                id.parse().map(Self::Gallery).map_err(|error: InvalidName| refuse(&error.to_string()))
            }
            Some(("vm", id)) => {
                parse_id(id, ResourceType::Machine).map(Self::Machine).map_err(|reason| refuse(&reason))
            }
            _ if text.starts_with('/') => Self::of_id(text)
                .ok_or_else(|| refuse("it is not the id of a disk, snapshot, image, gallery version or machine")),
            _ => Err(refuse("a source begins with blob:, disk:, snapshot:, image:, gallery: or vm:")),
        }
    }
}

impl SourceLocation {
    /// The source that an id names. None for other types of resources.
    fn of_id(text: &str) -> Option<Self> {
        if let Ok(version) = text.parse::<VersionRef>() {
            return Some(Self::Gallery(version));
        }
        let id: ResourceId = text.parse().ok()?;
        match id.resource_type {
            ResourceType::Disk => Some(Self::Disk(id)),
            ResourceType::Snapshot => Some(Self::Snapshot(id)),
            ResourceType::Image => Some(Self::Image(id)),
            ResourceType::Machine => Some(Self::Machine(id)),
            _ => None,
        }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(blob) => write!(f, "blob:{blob}"),
            Self::Disk(id) => write!(f, "disk:{id}"),
            Self::Snapshot(id) => write!(f, "snapshot:{id}"),
            Self::Image(id) => write!(f, "image:{id}"),
            Self::Gallery(version) => write!(f, "gallery:{version}"),
            Self::Machine(id) => write!(f, "vm:{id}"),
        }
    }
}

fn parse_id(text: &str, expected: ResourceType) -> Result<ResourceId, String> {
    let (noun, segment) = (expected.noun(), expected.segment());
    let article = if noun.starts_with(['a', 'i']) { "an" } else { "a" };
    let id = text.parse::<ResourceId>().map_err(|_| {
        format!(
            "it is not the id of {article} {noun}: \
             /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/{segment}/NAME"
        )
    })?;
    if id.resource_type == expected {
        return Ok(id);
    }
    Err(format!("it is the id of another type of resource, not of {article} {noun}"))
}

/// A blob by its URL or its address.
fn parse_blob(text: &str, url_of: &dyn Fn(&BlobAddress) -> String) -> Result<BlobAddress, String> {
    if text.contains(['?', '#']) {
        return Err("a blob is read by token: name it without a signature or snapshot".to_owned());
    }
    let Some((_, rest)) = text.split_once("://") else {
        return text.parse::<BlobAddress>().map_err(|error| error.to_string());
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let account = host.split('.').next().unwrap_or_default();
    // At Azure the account is a part of the host. At an emulator it is the first folder.
    let candidates = [format!("{account}/{path}"), path.to_owned()];
    let found = candidates.iter().filter_map(|text| text.parse::<BlobAddress>().ok()).find(|blob| url_of(blob) == text);
    found.ok_or_else(|| {
        let example = "account/container/name".parse().map(|blob| url_of(&blob)).unwrap_or_default();
        format!("it is not the URL of a blob in this cloud: expected a URL like {example}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str =
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute";

    fn azure(blob: &BlobAddress) -> String {
        let (account, container) = (&blob.container.account, &blob.container.container);
        format!("https://{account}.blob.core.windows.net/{container}/{}", blob.name)
    }

    fn emulator(blob: &BlobAddress) -> String {
        format!("https://127.0.0.1:10000/{blob}")
    }

    #[test]
    fn all_forms_are_parsed() {
        for (text, expected) in [
            ("blob:gold1/vhds/a/b.vhd".to_owned(), "blob:gold1/vhds/a/b.vhd".to_owned()),
            ("blob:https://gold1.blob.core.windows.net/vhds/a/b.vhd".to_owned(), "blob:gold1/vhds/a/b.vhd".to_owned()),
            (format!("disk:{GROUP}/disks/d"), format!("disk:{GROUP}/disks/d")),
            (format!("snapshot:{GROUP}/snapshots/s"), format!("snapshot:{GROUP}/snapshots/s")),
            (format!("vm:{GROUP}/virtualMachines/v"), format!("vm:{GROUP}/virtualMachines/v")),
            (format!("image:{GROUP}/images/i"), format!("image:{GROUP}/images/i")),
            (
                format!("gallery:{GROUP}/galleries/c/images/u/versions/1.0.0"),
                format!("gallery:{GROUP}/galleries/c/images/u/versions/1.0.0"),
            ),
            (
                "gallery:/CommunityGalleries/c/Images/u/Versions/1.0.0".to_owned(),
                "gallery:/CommunityGalleries/c/Images/u/Versions/1.0.0".to_owned(),
            ),
        ] {
            assert_eq!(SourceLocation::parse(&text, &azure).unwrap().to_string(), expected);
        }
        for (id, expected) in
            [("images/i", "image:"), ("galleries/c/images/u/versions/1.0.0", "gallery:"), ("disks/d", "disk:")]
        {
            let parsed = SourceLocation::parse(&format!("{GROUP}/{id}"), &azure).unwrap();
            assert_eq!(parsed.to_string(), format!("{expected}{GROUP}/{id}"), "an id alone");
        }
        let blob = SourceLocation::parse("blob:https://127.0.0.1:10000/gold1/vhds/a.vhd", &emulator).unwrap();
        assert_eq!(blob.to_string(), "blob:gold1/vhds/a.vhd");
    }

    #[test]
    fn other_names_are_refused_without_their_signature() {
        for (text, says) in [
            ("golden.vhd".to_owned(), "begins with blob:, disk:, snapshot:, image:, gallery: or vm:"),
            ("images:/subscriptions/1".to_owned(), "begins with"),
            (format!("image:{GROUP}/disks/d"), "not of an image"),
            (format!("{GROUP}/galleries/c"), "gallery version or machine"),
            (format!("gallery:{GROUP}/galleries/c/images/u"), "gallery version"),
            (format!("vm:{GROUP}/disks/d"), "not of a machine"),
            (format!("disk:{GROUP}/snapshots/s"), "not of a disk"),
            ("snapshot:name".to_owned(), "Microsoft.Compute/snapshots/NAME"),
            ("blob:https://gold1.blob.core.windows.net/vhds/a.vhd?sv=1&sig=secret".to_owned(), "by token"),
            ("blob:https://example.com/vhds/a.vhd".to_owned(), "https://account.blob.core.windows.net/container/name"),
            ("blob:http://gold1.blob.core.windows.net/vhds/a.vhd".to_owned(), "not the URL of a blob in this cloud"),
            ("blob:gold1".to_owned(), "ACCOUNT/CONTAINER"),
        ] {
            let refusal = SourceLocation::parse(&text, &azure).unwrap_err();
            assert_eq!(refusal.code.name, "name-invalid");
            assert!(refusal.to_string().contains(says), "{refusal}");
            assert!(!format!("{refusal} {refusal:?}").contains("secret"), "{refusal}");
        }
    }
}
