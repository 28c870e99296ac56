//! Tells the program which commit it is made of: what `GOLDFLEET_COMMIT` says, as in a container without the repository,
//! else what git says, else nothing.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GOLDFLEET_COMMIT");
    let given = std::env::var("GOLDFLEET_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    let commit = given.or_else(|| {
        // A branch's own file changes with each commit, HEAD when another is checked out.
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

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
