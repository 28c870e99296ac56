//! `qemu-img` and `qemu-io` (Debian: qemu-utils) make images, and are the oracle of what is in them.

use std::path::Path;
use std::process::Command;

/// Runs a program; its failure fails the test.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed (tests/run.sh installs it): {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Converts a raw file.
pub fn convert(raw: &Path, format: &str, options: &str, output: &Path, more: &[&str]) {
    let mut arguments = vec!["convert", "-f", "raw", "-O", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    arguments.extend(more);
    arguments.extend([text(raw), text(output)]);
    run("qemu-img", &arguments);
}

/// The content of an image as qemu-img sees it.
pub fn raw(image: &Path, format: &str, folder: &Path) -> Vec<u8> {
    let output = folder.join("oracle.raw");
    let force;
    let source: &[&str] = if format == "vpc" {
        // Without it, the size of many VHDs is computed from their geometry, which cuts off their end.
        force = format!("driver=vpc,force_size_calc=current_size,file.filename={}", text(image));
        &["--image-opts", &force]
    } else {
        &["-f", format, text(image)]
    };
    run("qemu-img", &[&["convert"], source, &["-O", "raw", text(&output)]].concat());
    std::fs::read(output).unwrap()
}
