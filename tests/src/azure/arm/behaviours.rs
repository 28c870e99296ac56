//! Behaviours of Azure that are not documented. What the double does by default is a guess; a test chooses each of
//! them, so that both branches of what depends on it are tested.

/// What a service does with a checksum in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// It verifies it.
    Verified,
    /// It accepts the request without verifying it.
    Ignored,
    /// It refuses requests that have it.
    Refused,
}

/// What a second `beginGetAccess` does while access exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It extends the SAS: the same URL.
    SameUrl,
    /// It gives another SAS. Both are valid.
    OtherUrl,
    /// It gives another SAS, and the first one ends.
    EndsFirst,
    /// It is refused.
    Refused,
}

/// The behaviours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviours {
    /// Whether Copy creates an incremental snapshot of a snapshot of another subscription.
    pub copy_across_subscriptions: bool,
    /// Whether CopyStart copies inside a region.
    pub copy_start_in_region: bool,
    /// Whether CopyStart copies to another subscription.
    pub copy_start_across_subscriptions: bool,
    /// Whether CopyStart copies a snapshot that was created by CopyStart.
    pub copy_start_from_copy: bool,
    /// Whether copies of one snapshot to two regions may arrive at the same time.
    pub copies_to_regions_at_once: bool,
    /// Whether an auxiliary token permits a source in another tenant.
    pub auxiliary_tokens: bool,
    /// Whether a gallery version is created from an incremental snapshot.
    pub gallery_from_incremental: bool,
    /// Whether a disk is created from a shallow gallery version.
    pub gallery_shallow_disk: bool,
    /// Whether two copies of one snapshot to one region may arrive at the same time.
    pub copies_of_one_at_once: bool,
    /// Whether an image is created from an incremental snapshot.
    pub image_from_incremental: bool,
    /// Whether an image is created from a snapshot of another subscription.
    pub image_from_other_subscription: bool,
    /// Whether a snapshot can be deleted from which an image was created.
    pub image_outlives_snapshot: bool,
    /// Whether Copy changes the encryption set.
    pub encryption_set_at_copy: bool,
    /// A second `beginGetAccess`.
    pub renewal: Renewal,
    /// Whether a resource returns to its earlier state when its SAS has expired.
    pub expiry_ends_access: bool,
    /// A CRC-64 in Put Page.
    pub page_crc64: Checks,
    /// The MD5 of the source in Put Page From URL.
    pub page_source_md5: Checks,
    /// Whether responses to page writes have the MD5 of the bytes.
    pub page_answer_md5: bool,
    /// Whether block blobs are sources of Put Page From URL.
    pub block_blob_source: bool,
}

impl Default for Behaviours {
    fn default() -> Self {
        Self {
            copy_across_subscriptions: true,
            copy_start_in_region: true,
            copy_start_across_subscriptions: true,
            copy_start_from_copy: true,
            copies_to_regions_at_once: true,
            auxiliary_tokens: false,
            gallery_from_incremental: true,
            gallery_shallow_disk: true,
            copies_of_one_at_once: false,
            image_from_incremental: true,
            image_from_other_subscription: false,
            image_outlives_snapshot: true,
            encryption_set_at_copy: true,
            renewal: Renewal::OtherUrl,
            expiry_ends_access: false,
            page_crc64: Checks::Verified,
            page_source_md5: Checks::Verified,
            page_answer_md5: true,
            block_blob_source: true,
        }
    }
}
