//! Checksums in requests and responses.
//!
//! A checksum in a request lets the service reject damaged bytes. A checksum in a response identifies the bytes that
//! were written, and is the only proof: Azure accepts `x-ms-source-content-crc64` on Put Page From URL but does not
//! verify it (azure-sdk-for-go pull request 20616, whose live test is skipped for that reason).

use azure_core::http::headers::{HeaderName, Headers};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD as BASE64};
use bytes::Bytes;
use goldfleet_azure_settings::Checksum;
use goldfleet_model::hash::Md5Sum;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::{Checksums, check_body};
use goldfleet_ports::disk_pages::PageAnswer;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use md5::{Digest as _, Md5};

/// The checksum of a request or response body: CRC-64/NVME, eight bytes in little-endian order, in Base64.
const CONTENT_CRC64: &str = "x-ms-content-crc64";

/// The MD5 of a request or response body, in Base64.
const CONTENT_MD5: &str = "content-md5";

/// Accepts Base64 with and without padding: the examples in Azure's documentation have none.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A CRC-64 in the byte order of the service.
pub(super) fn crc64_bytes(crc64: u64) -> Vec<u8> {
    crc64.to_le_bytes().to_vec()
}

fn crc64_header(crc64: u64) -> String {
    BASE64.encode(crc64_bytes(crc64))
}

/// The header with which the service verifies `body`. The checksums of the body are already known.
///
/// # Errors
/// `Corrupt` if an MD5 is required but not known, and the body no longer matches its CRC-64.
pub(super) async fn header(
    kind: Checksum,
    blob: &BlobAddress,
    body: &Bytes,
    checksums: Checksums,
) -> PortResult<(&'static str, String)> {
    match (kind, checksums.md5) {
        (Checksum::Crc64, _) => return Ok((CONTENT_CRC64, crc64_header(checksums.crc64))),
        (Checksum::Md5, Some(md5)) => return Ok((CONTENT_MD5, BASE64.encode(md5.as_bytes()))),
        (Checksum::Md5, None) => {}
    }
    let (of, body) = (blob.clone(), body.clone());
    let sum = move || {
        check_body(&of, &body, checksums.crc64).map_err(|error| error.with_code("crc64-mismatch"))?;
        Ok((CONTENT_MD5, BASE64.encode(Md5::digest(&body))))
    };
    // This takes milliseconds of CPU time, which would delay other requests on this thread.
    let summed = tokio::task::spawn_blocking(sum).await;
    summed.unwrap_or_else(|error| Err(PortError::new(ErrorKind::Unavailable, format!("{blob}: no checksum: {error}"))))
}

/// The checksums in a response of the bytes that the service wrote. A value that cannot be decoded is kept as an empty
/// byte string, which equals no checksum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Written {
    pub(super) crc64: Option<Vec<u8>>,
    pub(super) md5: Option<Vec<u8>>,
}

/// What the checksums of a response prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The bytes are correct.
    Right,
    /// The bytes are wrong.
    Wrong,
    /// The response contains no usable checksum.
    None,
}

impl Written {
    pub(in super::super) fn of(headers: &Headers) -> Self {
        let bytes = |name: &'static str| {
            let text = headers.get_optional_str(&HeaderName::from_static(name))?;
            Some(LENIENT.decode(text.trim()).unwrap_or_default())
        };
        Self { crc64: bytes(CONTENT_CRC64), md5: bytes(CONTENT_MD5) }
    }

    /// The checksums as the answer to a write to a disk. One that cannot be decoded proves nothing.
    pub(in super::super) fn page_answer(&self) -> PageAnswer {
        let md5 = self.md5.as_ref().and_then(|md5| <[u8; 16]>::try_from(md5.as_slice()).ok());
        let crc64 = self.crc64.as_ref().and_then(|crc64| <[u8; 8]>::try_from(crc64.as_slice()).ok());
        PageAnswer { md5: md5.map(Md5Sum::from), crc64: crc64.map(u64::from_le_bytes) }
    }

    /// Compares the checksums with the expected ones.
    pub(super) fn proves(&self, checksums: Checksums) -> Proof {
        let crc64 = self.crc64.as_ref().map(|told| *told == checksums.crc64.to_le_bytes());
        let md5 = self.md5.as_ref().zip(checksums.md5).map(|(told, md5)| told == md5.as_bytes());
        match (crc64, md5) {
            (Some(false), _) | (_, Some(false)) => Proof::Wrong,
            (None, None) => Proof::None,
            _ => Proof::Right,
        }
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_model::store::Container;

    use super::*;

    /// The check value of CRC-64/NVME: <https://reveng.sourceforge.io/crc-catalogue/17plus.htm>
    const CHECK: u64 = 0xae8b_1486_0a79_9888;

    #[tokio::test]
    async fn body_is_verified_before_rehashing() {
        let store = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
        let (blob, body) = (store.blob("chunk"), Bytes::from_static(b"123456789"));
        let asked = |kind, crc64: u64| header(kind, &blob, &body, crc64.into());
        let md5 = (CONTENT_MD5, "JfnnlDI7RTiF9RgfG2JNCw==".to_owned());
        assert_eq!(asked(Checksum::Crc64, CHECK).await.unwrap(), (CONTENT_CRC64, "iJh5CoYUi64=".to_owned()));
        assert_eq!(asked(Checksum::Md5, CHECK).await.unwrap(), md5);
        let refused = asked(Checksum::Md5, CHECK + 1).await.unwrap_err();
        assert_eq!((refused.kind, refused.code.as_str()), (ErrorKind::Corrupt, "crc64-mismatch"));
        let known = Checksums { crc64: CHECK, md5: Some(Md5Sum::of(&body)) };
        assert_eq!(header(Checksum::Md5, &blob, &Bytes::new(), known).await.unwrap(), md5, "it is not computed again");
    }

    #[test]
    fn an_answer_proves_what_it_has_a_checksum_of() {
        let answer = |crc64: Option<&'static str>, md5: Option<&'static str>| {
            let mut headers = Headers::new();
            for (name, value) in [(CONTENT_CRC64, crc64), (CONTENT_MD5, md5)] {
                if let Some(value) = value {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
            Written::of(&headers)
        };
        let (crc64, md5) = ("iJh5CoYUi64=", "JfnnlDI7RTiF9RgfG2JNCw==");
        let both = Checksums { crc64: CHECK, md5: Some(Md5Sum::of(b"123456789")) };
        for (told, known, proof) in [
            (answer(Some(crc64), Some(md5)), both, Proof::Right),
            (answer(Some("iJh5CoYUi64"), None), both, Proof::Right),
            (answer(None, Some(md5)), both, Proof::Right),
            (answer(None, Some(md5)), CHECK.into(), Proof::None),
            (answer(None, None), both, Proof::None),
            (answer(Some("iJh5CoYUi60="), Some(md5)), both, Proof::Wrong),
            (answer(Some(crc64), Some("1B2M2Y8AsgTpgAmY7PhCfg==")), both, Proof::Wrong),
            (answer(Some("?"), None), both, Proof::Wrong),
        ] {
            assert_eq!(told.proves(known), proof, "{told:?} for {known:?}");
        }
    }
}
