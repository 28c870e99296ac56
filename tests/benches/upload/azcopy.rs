//! AzCopy, from its package on npm.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Installed AzCopy.
pub(crate) struct AzCopy {
    program: PathBuf,
    /// Its logs and plans.
    folder: PathBuf,
}

impl AzCopy {
    /// Installs it where it is missing: it is no part of the tests, and brings 58 MB.
    pub(crate) fn install(folder: &Path) -> anyhow::Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("azcopy");
        let program = package.join("node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64");
        if !program.exists() {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&package);
            ensure!(npm.status().context("npm is needed")?.success(), "npm cannot install AzCopy");
        }
        // The package leaves it without the right to be run.
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        let version = Command::new(&program).arg("--version").env("HOME", folder).output()?;
        ensure!(
            version.status.success(),
            "AzCopy does not run; on Debian it needs libsecret-1-0: {}",
            String::from_utf8_lossy(&version.stderr)
        );
        println!("{}", String::from_utf8_lossy(&version.stdout).trim());
        Ok(Self { program, folder: folder.to_owned() })
    }

    /// Uploads a VHD as a page blob to a URL with a SAS, with AzCopy's defaults. It must trust `root`, and finds no
    /// proxy or login of this machine.
    pub(crate) fn upload(&self, file: &Path, url: &str, root: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("copy").arg(file).arg(url).args(["--blob-type", "PageBlob", "--from-to", "LocalBlob"]);
        command.env_clear().env("HOME", &self.folder).env("SSL_CERT_FILE", root);
        command.env("AZCOPY_LOG_LOCATION", &self.folder).env("AZCOPY_JOB_PLAN_LOCATION", &self.folder);
        command.env("AZCOPY_DISABLE_SYSLOG", "true");
        command
    }
}
