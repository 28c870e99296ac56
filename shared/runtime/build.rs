//! Passes the commit to the program: the value of `GOLDFLEET_COMMIT` (container builds have no repository), otherwise
//! that of git, otherwise `unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GOLDFLEET_COMMIT");
    let given = std::env::var("GOLDFLEET_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    let commit = given.or_else(|| {
        // Sources without their own repository can be inside another repository, whose commit would be wrong.
        git(&["rev-parse", "--show-toplevel"]).filter(|root| is_ours(Path::new(root)))?;
        // A commit changes the file of the branch; the checkout of another branch changes HEAD.
        let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
        for name in ["HEAD"].into_iter().chain(branch.as_deref()) {
            if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", name]) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    println!("cargo::rustc-env=GOLDFLEET_COMMIT={}", commit.as_deref().map_or("unknown", str::trim));
}

/// Whether this package has the same path in the repository at `root` as in goldfleet's repository.
fn is_ours(root: &Path) -> bool {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).and_then(|path| path.canonicalize().ok());
    root.canonicalize().ok().is_some_and(|root| package == Some(root.join("shared/runtime")))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
