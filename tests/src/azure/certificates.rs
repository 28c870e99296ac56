//! A root certificate and a certificate for the loopback address, generated for each run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldfleet_azure::Connection;
use goldfleet_azure_settings::{Credential, Identity};
use goldfleet_ports::timeout::TimeoutPolicy;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The files of a root certificate, and of a server's certificate and key that are signed by it.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The root in PEM format, which clients must trust.
    pub root: PathBuf,
    /// The certificate of `127.0.0.1` and `localhost`.
    pub server: PathBuf,
    /// The key of the server's certificate.
    pub key: PathBuf,
}

impl Certificates {
    /// Generates them in `folder`.
    #[must_use]
    pub fn make(folder: &Path) -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        root.distinguished_name.push(DnType::CommonName, "goldfleet tests");
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = server.signed_by(&key, &root).unwrap();
        let files =
            Self { root: folder.join("root.pem"), server: folder.join("server.pem"), key: folder.join("server.key") };
        fs::write(&files.root, root.pem()).unwrap();
        fs::write(&files.server, signed.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// The TLS configuration of a server in this process.
    #[must_use]
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = vec![CertificateDer::from_pem_file(&self.server).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Arc::new(config)
    }

    /// A connection with the emulator's credential, which trusts the root.
    #[must_use]
    pub fn connection(&self) -> Connection {
        let identity = Identity {
            credential: Credential::Emulator,
            ca_certificate: Some(self.root.clone()),
            ..Identity::default()
        };
        Connection::open(&identity, TimeoutPolicy::default()).unwrap()
    }

    /// A client that trusts the root.
    #[must_use]
    pub fn client(&self) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = reqwest::Certificate::from_pem(&fs::read(&self.root).unwrap()).unwrap();
        reqwest::Client::builder().tls_certs_merge([root]).build().unwrap()
    }
}
