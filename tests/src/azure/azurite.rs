//! Azurite, Microsoft's storage emulator, set up like production: over TLS, with bearer tokens.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use goldfleet_azure::Connection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::certificates::Certificates;

/// The maximum time for its start: Node without caches on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The maximum time for an orderly stop: twice the interval between its writes to disk.
const STOP: Duration = Duration::from_secs(10);

/// A key in the right format. Nothing is signed with it.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite. Dropping it stops it.
pub struct Azurite {
    folder: TempDir,
    certificates: Certificates,
    accounts: Vec<String>,
    ports: [u16; 3],
    server: Option<Child>,
}

impl Azurite {
    /// Starts Azurite with these storage accounts.
    #[must_use]
    pub fn start(accounts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(folder.path());
        let accounts = accounts.iter().map(ToString::to_string).collect();
        let mut azurite = Self { folder, certificates, accounts, ports: free_ports(), server: None };
        // Another test may take one of the free ports before Azurite opens it.
        while let Err(error) = azurite.try_start() {
            assert!(error.contains("EADDRINUSE"), "Azurite did not start: {error}");
            azurite.ports = free_ports();
        }
        azurite
    }

    /// Stops it. Stored data is kept: it is written when Azurite exits, or every five seconds. There must be no writes
    /// during the call.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let pid = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let begun = Instant::now();
        while server.try_wait().unwrap().is_none() {
            // It waits for connections that clients keep open. Its data is on disk by this time.
            if begun.elapsed() > STOP {
                server.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again with its stored data.
    pub fn start_again(&mut self) {
        self.try_start().unwrap();
    }

    fn try_start(&mut self) -> Result<(), String> {
        let accounts: Vec<String> = self.accounts.iter().map(|account| format!("{account}:{KEY}")).collect();
        let [blob, queue, table] = self.ports.map(|port| port.to_string());
        let log = File::create(self.folder.path().join("azurite.log")).unwrap();
        let server = Command::new(program())
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--oauth", "basic"])
            .args(["--blobPort", &blob, "--queuePort", &queue, "--tablePort", &table])
            .arg("--location")
            .arg(self.folder.path().join("data"))
            .arg("--cert")
            .arg(&self.certificates.server)
            .arg("--key")
            .arg(&self.certificates.key)
            .env("AZURITE_ACCOUNTS", accounts.join(";"))
            // Azurite sends requests to itself for copies between accounts.
            .env("NODE_EXTRA_CA_CERTS", &self.certificates.root)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(server);
        self.ports.into_iter().try_for_each(|port| self.wait_for(port))
    }

    /// Waits until it listens. The error contains its output.
    fn wait_for(&mut self, port: u16) -> Result<(), String> {
        let begun = Instant::now();
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err() {
            let server = self.server.as_mut().unwrap();
            let ended = server.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > START {
                let log = std::fs::read_to_string(self.folder.path().join("azurite.log")).unwrap_or_default();
                return Err(format!("{ended:?}: {log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The certificates that Azurite and its clients use.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// A connection with the emulator's credential, which trusts its certificate.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.certificates.connection()
    }

    /// A directory that exists as long as this value.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority of the Blob service, without an account. A proxy can be placed in front of it.
    #[must_use]
    pub fn blob_authority(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports[0])
    }

    /// The Blob service's endpoint, with `{account}` for the account.
    #[must_use]
    pub fn blobs(&self) -> String {
        endpoint(self.ports[0])
    }

    /// The Queue service's endpoint.
    #[must_use]
    pub fn queues(&self) -> String {
        endpoint(self.ports[1])
    }

    /// The Table service's endpoint.
    #[must_use]
    pub fn tables(&self) -> String {
        endpoint(self.ports[2])
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn endpoint(port: u16) -> String {
    format!("https://127.0.0.1:{port}/{{account}}")
}

/// Free ports: bound at the same time, so that they differ, and then released.
fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite/node_modules/.bin/azurite");
    assert!(
        program.exists(),
        "Azurite is missing: run `npm ci --ignore-scripts --prefix tests/azurite` (tests/run.sh does)"
    );
    program
}
