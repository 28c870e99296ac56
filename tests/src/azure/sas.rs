//! Shared access signatures with user delegation keys.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::http::{Transport, Url};
use azure_core::time::{Duration, OffsetDateTime};
use azure_storage_blob::models::KeyInfo;
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use azure_storage_sas::SasBuilder;

/// The validity of a key.
const LIFETIME: Duration = Duration::hours(1);

#[derive(Debug)]
struct Forged(String);

#[async_trait]
impl TokenCredential for Forged {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new(self.0.clone(), OffsetDateTime::now_utc() + LIFETIME))
    }
}

/// Creates a SAS with `build` and a user delegation key of `account`, whose Blob service is at `endpoint`, for the
/// owner of the bearer `token`. It is valid for half an hour.
pub async fn signed(
    endpoint: &str,
    account: &str,
    token: &str,
    client: reqwest::Client,
    build: impl FnOnce(SasBuilder<'_>) -> String,
) -> String {
    let mut options = BlobServiceClientOptions::default();
    options.client_options.transport = Some(Transport::new(Arc::new(client)));
    let credential = Arc::new(Forged(token.to_owned()));
    let endpoint = Url::parse(endpoint).unwrap();
    let service = BlobServiceClient::new(endpoint, Some(credential), Some(options)).unwrap();
    // The emulator derives the key from the requested times including fractions of seconds, which the signature omits.
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let hours = KeyInfo { start: Some(now - Duration::minutes(5)), expiry: Some(now + LIFETIME), ..KeyInfo::default() };
    let key = service.get_user_delegation_key(hours.try_into().unwrap(), None).await.unwrap().into_model().unwrap();
    build(SasBuilder::new(account, &key, now + Duration::minutes(30)).unwrap())
}
