//! What the service checks a body by.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use goldfleet_azure_settings::Checksum;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::check_body;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use md5::{Digest as _, Md5};

/// The checksum of a request's or an answer's body: CRC-64/NVME, eight bytes with the least first, in Base64.
pub(super) const CONTENT_CRC64: &str = "x-ms-content-crc64";

/// A checksum as the service takes it.
pub(super) fn crc64_bytes(crc64: u64) -> Vec<u8> {
    crc64.to_le_bytes().to_vec()
}

pub(super) fn crc64_header(crc64: u64) -> String {
    BASE64.encode(crc64_bytes(crc64))
}

/// The header by which the service checks `body`, whose CRC-64 is known already.
///
/// # Errors
/// `Corrupt` where an MD5 is asked for, and the body is not what it was when its CRC-64 was computed.
pub(super) async fn header(
    kind: Checksum,
    blob: &BlobAddress,
    body: &Bytes,
    crc64: u64,
) -> PortResult<(&'static str, String)> {
    if kind == Checksum::Crc64 {
        return Ok((CONTENT_CRC64, crc64_header(crc64)));
    }
    let (of, body) = (blob.clone(), body.clone());
    let sum = move || {
        check_body(&of, &body, crc64).map_err(|error| error.with_code("crc64-mismatch"))?;
        Ok(("content-md5", BASE64.encode(Md5::digest(&body))))
    };
    // Milliseconds of computing, which would hold up the requests that this thread looks after.
    let summed = tokio::task::spawn_blocking(sum).await;
    summed.unwrap_or_else(|error| Err(PortError::new(ErrorKind::Unavailable, format!("{blob}: no checksum: {error}"))))
}

#[cfg(test)]
mod tests {
    use goldfleet_model::store::Container;

    use super::*;

    #[tokio::test]
    async fn a_body_is_checked_before_it_gets_another_checksum() {
        let store = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
        let (blob, body) = (store.blob("chunk"), Bytes::from_static(b"123456789"));
        // CRC-64/NVME's check value: https://reveng.sourceforge.io/crc-catalogue/17plus.htm
        let crc64 = 0xae8b_1486_0a79_9888;
        let asked = |kind, crc64| header(kind, &blob, &body, crc64);
        assert_eq!(asked(Checksum::Crc64, crc64).await.unwrap(), (CONTENT_CRC64, "iJh5CoYUi64=".to_owned()));
        assert_eq!(asked(Checksum::Md5, crc64).await.unwrap(), ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==".to_owned()));
        let refused = asked(Checksum::Md5, crc64 + 1).await.unwrap_err();
        assert_eq!((refused.kind, refused.code.as_str()), (ErrorKind::Corrupt, "crc64-mismatch"));
    }
}
