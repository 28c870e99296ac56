//! The blobs that images are created from, as the test describes them to the double.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

/// The properties of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Whether it exists.
    pub exists: bool,
    /// Its length in bytes, including the footer.
    pub length: u64,
    /// Whether it is a page blob.
    pub is_page_blob: bool,
    /// Whether its last 512 bytes are the footer of a fixed VHD.
    pub footer_ok: bool,
}

impl BlobInfo {
    /// The smallest VHD from which an image can be created: 1 MiB and the footer.
    pub const VHD: Self = Self { exists: true, length: (1 << 20) + 512, is_page_blob: true, footer_ok: true };

    /// A blob that does not exist.
    pub const MISSING: Self = Self { exists: false, length: 0, is_page_blob: false, footer_ok: false };
}

/// Asks the test for the properties of a blob by its URL.
#[derive(Clone)]
pub struct Blobs(Arc<dyn Fn(String) -> BoxFuture<'static, BlobInfo> + Send + Sync>);

impl Blobs {
    /// Calls `ask` for each URL.
    pub fn new(ask: impl Fn(String) -> BoxFuture<'static, BlobInfo> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// The same properties for every URL.
    #[must_use]
    pub fn all(info: BlobInfo) -> Self {
        Self::new(move |_| Box::pin(async move { info }))
    }

    /// The properties of the blob at a URL.
    pub async fn ask(&self, url: &str) -> BlobInfo {
        (self.0)(url.to_owned()).await
    }
}

impl Default for Blobs {
    /// Every URL is that of a valid VHD.
    fn default() -> Self {
        Self::all(BlobInfo::VHD)
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blobs")
    }
}

/// When the double rejects a blob from which no image can be created. Source: both were seen; for images in the
/// response to the PUT in terraform-provider-azurerm#4427, for disks of machines in the operation in
/// azure-sdk-for-go#1829.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlobChecks {
    /// The operation fails.
    #[default]
    InOperation,
    /// The PUT fails with 400.
    AtOnce,
}

/// Why no image can be created from a blob, as code and message.
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
        // Source: Azure, preparing a VHD: the virtual size is a whole number of MiB; the message is from memory.
        return invalid(format!(
            "The VHD {url} has an unsupported virtual size of {size} bytes. The size must be a whole number (in MBs)."
        ));
    }
    None
}
