//! What the double is told about the blobs that images are made from.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

/// What is known about a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Whether it is there.
    pub exists: bool,
    /// Its bytes, the footer's among them.
    pub length: u64,
    /// Whether it is a page blob.
    pub is_page_blob: bool,
    /// Whether its last 512 bytes are the footer of a fixed VHD.
    pub footer_ok: bool,
}

impl BlobInfo {
    /// The smallest VHD that an image can be made from: one mebibyte and the footer.
    pub const VHD: Self = Self { exists: true, length: (1 << 20) + 512, is_page_blob: true, footer_ok: true };

    /// No blob.
    pub const MISSING: Self = Self { exists: false, length: 0, is_page_blob: false, footer_ok: false };
}

/// Asks the test about a blob by its address.
#[derive(Clone)]
pub struct Blobs(Arc<dyn Fn(String) -> BoxFuture<'static, BlobInfo> + Send + Sync>);

impl Blobs {
    /// Asks `ask`.
    pub fn new(ask: impl Fn(String) -> BoxFuture<'static, BlobInfo> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// The same for every address.
    #[must_use]
    pub fn all(info: BlobInfo) -> Self {
        Self::new(move |_| Box::pin(async move { info }))
    }

    /// What is at an address.
    pub async fn ask(&self, url: &str) -> BlobInfo {
        (self.0)(url.to_owned()).await
    }
}

impl Default for Blobs {
    /// Every address is a good VHD's.
    fn default() -> Self {
        Self::all(BlobInfo::VHD)
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blobs")
    }
}

/// When the double tells that a blob can't be made an image of. Source: seen both ways; for images at once in
/// terraform-provider-azurerm#4427, for disks of machines in the operation in azure-sdk-for-go#1829.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlobChecks {
    /// The operation fails.
    #[default]
    InOperation,
    /// The PUT is answered with 400.
    AtOnce,
}

/// Why an image can't be made from a blob, as code and sentence.
pub(super) fn unfit(url: &str, info: BlobInfo) -> Option<(&'static str, String)> {
    let invalid = |message: String| Some(("InvalidParameter", message));
    if !info.exists {
        // Source: seen, hashicorp/terraform-provider-azurerm#4427, with the target 'disks'.
        return invalid(format!("The source blob {url} is not accessible."));
    }
    if !info.is_page_blob || info.length <= 512 || !info.length.is_multiple_of(512) {
        // Source: seen, Azure/azure-cli#6179.
        return invalid("Only blobs formatted as VHDs can be imported.".to_owned());
    }
    if !info.footer_ok {
        let name = url.rsplit('/').next().unwrap_or(url);
        // Source: seen, osbuild/osbuild-composer#111; as InvalidVhd for machines in Azure/azure-sdk-for-go#1829.
        return invalid(format!(
            "The specified cookie value in VHD footer indicates that disk '{name}' with blob {url} is not a supported \
             VHD. Disk is expected to have cookie value 'conectix'."
        ));
    }
    let size = info.length - 512;
    if !size.is_multiple_of(1 << 20) {
        // Source: Azure, preparing a VHD: the virtual size is whole MiB; the sentence from memory of what is seen.
        return invalid(format!(
            "The VHD {url} has an unsupported virtual size of {size} bytes. The size must be a whole number (in MBs)."
        ));
    }
    None
}
