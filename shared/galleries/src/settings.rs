//! What the configuration says about a gallery.

use std::collections::BTreeMap;

use goldfleet_model::ids::{ImageName, InvalidName, Region, ResourceGroup, ResourceName, SubscriptionId};
use goldfleet_model::image_pattern::ImagePattern;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_snapshots::id::GroupRef;
use serde::{Deserialize, Serialize};

/// The field of templates that stands for the name of the image.
const IMAGE: &str = "{image}";

/// A gallery that receives image versions: `[[gallery]]` of the targets file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gallery {
    /// Its subscription.
    pub subscription: SubscriptionId,
    /// Its resource group.
    pub resource_group: ResourceGroup,
    /// Its name: letters, digits, `.` and `_`.
    pub name: ResourceName,
    /// The region of its versions. Each version is created there, from the golden snapshot of the region.
    pub region: Region,
    /// The images that it receives. Empty for all.
    #[serde(default)]
    pub images: Vec<ImagePattern>,
    /// The name of the image definition. `{image}` stands for the name of the image.
    #[serde(default = "image_field")]
    pub definition: String,
    /// Whether a missing definition is created.
    #[serde(default)]
    pub create_definition: bool,
    /// The publisher in the identifier of the definition.
    #[serde(default = "default_publisher")]
    pub publisher: String,
    /// The offer. `{image}` stands for the name of the image.
    #[serde(default = "image_field")]
    pub offer: String,
    /// The SKU. `{image}` stands for the name of the image.
    #[serde(default = "image_field")]
    pub sku: String,
    /// The security type of the definition. It is always in the request, because newer API versions have other
    /// defaults.
    #[serde(default)]
    pub security_type: SecurityType,
    /// The architecture.
    #[serde(default)]
    pub architecture: Architecture,
    /// Whether machines of the image are set up at their first start.
    #[serde(default)]
    pub os_state: OsState,
    /// Further features of the definition, such as `DiskControllerTypes = "SCSI, NVMe"`.
    #[serde(default)]
    pub features: BTreeMap<String, String>,
    /// The regions to which versions are replicated. The region of the gallery is one of them; it is added if it is
    /// missing.
    #[serde(default)]
    pub regions: Vec<GalleryRegion>,
    /// The number of days after which a version ends. None for no end. The platform deletes nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_life_days: Option<u32>,
    /// The number of hours after which a region counts as failed if it has not become usable.
    #[serde(default = "default_hours")]
    pub region_timeout_hours: u32,
    /// The ring.
    #[serde(default)]
    pub ring: u32,
    /// Whether it receives versions.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

/// A region to which versions of a gallery are replicated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GalleryRegion {
    /// The region.
    pub name: Region,
    /// The number of replicas.
    #[serde(default = "one")]
    pub replicas: u32,
    /// The storage of the replicas.
    #[serde(default)]
    pub storage: ReplicaStorage,
    /// The resource id of the disk encryption set of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_encryption_set: Option<String>,
}

/// Defines an enum whose values are written in one way in the configuration, and in another way in Resource Manager.
macro_rules! setting {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $written:literal => $azure:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $written)] $variant,)*
        }

        impl $name {
            /// The value in Resource Manager.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $azure,)*
                }
            }
        }
    };
}

setting! {
    /// The security type of a definition. Source: Azure, trusted-launch, values of the feature `SecurityType`.
    SecurityType {
        /// Machines have standard security.
        Standard = "standard" => "Standard",
        /// Machines have Trusted Launch.
        TrustedLaunch = "trusted-launch" => "TrustedLaunch",
        /// Machines have standard security or Trusted Launch.
        #[default]
        TrustedLaunchSupported = "trusted-launch-supported" => "TrustedLaunchSupported",
    }
}

setting! {
    /// The architecture of a definition.
    Architecture {
        /// 64-bit x86.
        #[default]
        X64 = "x64" => "x64",
        /// 64-bit Arm.
        Arm64 = "arm64" => "Arm64",
    }
}

setting! {
    /// Whether machines of an image are set up at their first start.
    OsState {
        /// They are set up.
        #[default]
        Generalized = "generalized" => "Generalized",
        /// They start as copies of the machine whose disk the image has.
        Specialized = "specialized" => "Specialized",
    }
}

setting! {
    /// The storage of replicas. Source: GalleryRP 2024-03-03, `StorageAccountType`.
    ReplicaStorage {
        /// Standard HDD, locally redundant.
        #[default]
        StandardLrs = "Standard_LRS" => "Standard_LRS",
        /// Standard HDD, redundant across zones.
        StandardZrs = "Standard_ZRS" => "Standard_ZRS",
        /// Premium SSD, locally redundant.
        PremiumLrs = "Premium_LRS" => "Premium_LRS",
    }
}

fn image_field() -> String {
    IMAGE.to_owned()
}

fn default_publisher() -> String {
    "goldfleet".to_owned()
}

fn one() -> u32 {
    1
}

fn default_hours() -> u32 {
    6
}

fn enabled() -> bool {
    true
}

impl Gallery {
    /// The resource group.
    #[must_use]
    pub fn place(&self) -> GroupRef {
        GroupRef { subscription: self.subscription, resource_group: self.resource_group.clone() }
    }

    /// The resource id.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        ResourceId {
            subscription: self.subscription,
            resource_group: self.resource_group.clone(),
            resource_type: ResourceType::Gallery,
            name: self.name.clone(),
        }
    }

    /// Whether it receives versions of an image.
    #[must_use]
    pub fn receives(&self, image: &ImageName) -> bool {
        self.enabled && (self.images.is_empty() || self.images.iter().any(|pattern| pattern.matches(image)))
    }

    /// The id of the definition of an image.
    ///
    /// # Errors
    /// [`InvalidName`] if its name is not valid.
    pub fn definition_of(&self, image: &ImageName) -> Result<ResourceId, InvalidName> {
        let own = fill(&self.definition, image).parse()?;
        Ok(self.id().child(ResourceType::Definition, &own))
    }

    /// The id of the disk encryption set in the region of the gallery.
    #[must_use]
    pub fn encryption_set(&self) -> Option<&str> {
        self.regions.iter().find(|region| region.name == self.region)?.disk_encryption_set.as_deref()
    }

    /// All regions, that of the gallery first.
    #[must_use]
    pub fn all_regions(&self) -> Vec<GalleryRegion> {
        let is_own = |region: &&GalleryRegion| region.name == self.region;
        let own = self.regions.iter().find(is_own).cloned().unwrap_or_else(|| GalleryRegion {
            name: self.region.clone(),
            replicas: 1,
            storage: ReplicaStorage::default(),
            disk_encryption_set: None,
        });
        std::iter::once(own).chain(self.regions.iter().filter(|region| !is_own(region)).cloned()).collect()
    }
}

/// A template with the name of an image.
pub(crate) fn fill(template: &str, image: &ImageName) -> String {
    template.replace(IMAGE, image.as_str())
}
