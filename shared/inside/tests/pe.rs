//! PE programs against the tools that sign them.
#![allow(clippy::unwrap_used)]

mod tools;

use std::fs;

use goldfleet_inside::MemoryFile;
use goldfleet_inside::pe::{Machine, Pe};
use tools::{run, text};

#[test]
fn the_issuer_of_a_signed_loader_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // The EFI stub of systemd is unsigned and has a section `.sbat`.
    let stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    assert!(fs::exists(stub).unwrap(), "the package systemd-boot-efi is needed (tests/run.sh installs it)");
    let (ca, ca_key, leaf, leaf_key) = (path("ca.pem"), path("ca.key"), path("leaf.pem"), path("leaf.key"));
    let new = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-sha256"];
    let ca_arguments =
        ["-x509", "-subj", "/O=Example/CN=Example UEFI CA 2026", "-keyout", text(&ca_key), "-out", text(&ca)];
    run("openssl", "openssl", &[&new[..], &ca_arguments].concat());
    let request = path("leaf.csr");
    run(
        "openssl",
        "openssl",
        &[&new[..], &["-subj", "/CN=Signer", "-keyout", text(&leaf_key), "-out", text(&request)]].concat(),
    );
    let sign = ["x509", "-req", "-days", "1", "-in", text(&request), "-CA", text(&ca), "-CAkey", text(&ca_key)];
    run("openssl", "openssl", &[&sign[..], &["-CAcreateserial", "-out", text(&leaf)]].concat());
    let signed = path("signed.efi");
    run("sbsigntool", "sbsign", &["--key", text(&leaf_key), "--cert", text(&leaf), "--output", text(&signed), stub]);

    for (file, issuers) in [(stub.as_ref(), vec![]), (signed.as_path(), vec!["Example UEFI CA 2026"])] {
        let mut file = MemoryFile(fs::read(file).unwrap());
        let pe = Pe::read(&mut file).unwrap();
        assert_eq!(pe.machine, Machine::X64);
        assert_eq!(pe.issuers(&mut file).unwrap(), issuers);
        assert!(pe.sbat(&mut file).unwrap().unwrap().starts_with("sbat,1,"));
    }
}
