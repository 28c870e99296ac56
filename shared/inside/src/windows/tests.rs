use goldfleet_disk::Finding;
use goldfleet_disk::Severity::{self, Error, Note, Warning};
use goldfleet_model::manifest::Generation;
use goldfleet_model::system::Architecture;

use super::sample::{PARTITION, SERVICES, STATE, Sample};
use super::*;
use crate::bcd::build as bcd;
use crate::fs::tree::TreeFs;
use crate::hive::build::{Lists, Node, hive};
use crate::options::Destination;
use crate::pe::build::{program, signature};

/// Adds one fault to a system that has none, and returns its findings.
fn after(change: impl FnOnce(&mut Sample)) -> Vec<Finding> {
    let mut sample = Sample::good();
    change(&mut sample);
    sample.check().1
}

/// The fault must lead to exactly this finding and to no other, and its message must contain `part`.
#[track_caller]
fn expect(code: &str, severity: Severity, part: &str, change: impl FnOnce(&mut Sample)) {
    let findings = after(change);
    assert_eq!(
        findings.iter().map(|finding| (finding.code, finding.severity)).collect::<Vec<_>>(),
        [(code, severity)],
        "{findings:#?}"
    );
    assert!(findings[0].message.contains(part), "{}", findings[0].message);
    assert!(findings[0].path.is_some() && (severity == Note || !findings[0].remedy.is_empty()), "{:?}", findings[0]);
}

#[track_caller]
fn expect_nothing(change: impl FnOnce(&mut Sample)) {
    let findings = after(change);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn a_prepared_system_has_no_findings_and_is_described() {
    let (system, findings) = Sample::good().check();
    assert!(findings.is_empty(), "{findings:#?}");
    let system = system.unwrap();
    assert_eq!((system.family.as_str(), system.id.as_str()), ("windows", "windows"));
    assert_eq!(system.name, "Windows Server 2022 Datacenter 21H2");
    assert_eq!(system.version, "10.0.20348.2699");
    assert_eq!(system.architecture, Some(Architecture::X64));
    assert_eq!(system.agents, ["WindowsAzureGuestAgent 2.7.41491.1172"]);
    assert_eq!(system.generations, [Generation::V2]);
    let (system, findings) = Sample::bios().check();
    assert!(findings.is_empty(), "{findings:#?}");
    assert_eq!(system.unwrap().generations, [Generation::V1]);
}

#[test]
fn a_disk_without_windows_is_not_windows() {
    let mut machine = Sample::good().machine();
    machine.mounted.pop();
    let mut findings = Findings::new();
    assert_eq!(check(&machine, &mut findings), None);
    assert!(findings.into_list().is_empty());
}

#[test]
fn windows_11_is_named_by_its_build() {
    let mut sample = Sample::good();
    let key = "Microsoft\\Windows NT\\CurrentVersion";
    sample.software.string(key, "ProductName", "Windows 10 Pro").string(key, "CurrentBuild", "22631");
    assert_eq!(sample.check().0.unwrap().name, "Windows 11 Pro 21H2");
    sample.software.string(key, "CurrentBuild", "19045");
    assert_eq!(sample.check().0.unwrap().name, "Windows 10 Pro 21H2");
}

#[test]
fn each_boot_driver_must_start_at_boot() {
    for name in ["vmbus", "storvsc", "disk", "partmgr", "volmgr", "volsnap", "mountmgr"] {
        expect("boot-driver", Error, &format!("{name} does not start at boot: Start is 3"), |s| {
            s.service(name, 3);
        });
        expect("boot-driver", Error, "StartOverride\\0 is 3", |s| {
            s.system.dword(&format!("{SERVICES}\\{name}\\StartOverride"), "0", 3);
        });
        expect_nothing(|s| {
            s.system.dword(&format!("{SERVICES}\\{name}\\StartOverride"), "0", 0);
        });
        expect("boot-driver", Error, "it has no value Start", |s| {
            s.system.key(&format!("{SERVICES}\\{name}")).values.retain(|(value, _, _)| value != "Start");
        });
        let file = format!("/Windows/System32/drivers/{name}.sys");
        expect("boot-driver", Error, &format!("its file {file} is missing"), |s| {
            s.windows = s.windows.clone().without(&file);
        });
    }
    expect("boot-driver", Error, "it is not registered", |s| s.system.remove(&format!("{SERVICES}\\storvsc")));
}

#[test]
fn remedies_of_boot_drivers_fit_the_reason() {
    let remedy = |change: &dyn Fn(&mut Sample)| {
        let found = after(change);
        found.into_iter().find(|finding| finding.code == "boot-driver").unwrap().remedy
    };
    assert!(
        remedy(&|s| {
            s.service("disk", 3);
        })
        .starts_with("reg add")
    );
    let replaced = remedy(&|s| {
        s.system.dword(&format!("{SERVICES}\\disk\\StartOverride"), "0", 3);
    });
    assert!(replaced.starts_with("reg delete") && replaced.contains("/v Start "), "{replaced}");
    let file = |s: &mut Sample| s.windows = s.windows.clone().without("/Windows/System32/drivers/disk.sys");
    assert!(remedy(&file).ends_with("sfc /scannow"));
    assert!(remedy(&|s| s.system.remove(&format!("{SERVICES}\\disk"))).ends_with("sfc /scannow"));
}

#[test]
fn the_current_control_set_decides() {
    let other_set = |s: &mut Sample, current| {
        let mut second = s.system.key("ControlSet001").clone();
        second.name = "ControlSet002".into();
        second.dword("Services\\storvsc", "Start", 3);
        s.system.children.push(second);
        s.system.dword("Select", "Current", current);
    };
    expect("boot-driver", Error, "storvsc", |s| other_set(s, 2));
    expect_nothing(|s| other_set(s, 1));
    expect("hive-damaged", Error, "its current control set ControlSet003 is missing", |s| other_set(s, 3));
    expect("hive-damaged", Error, "Select", |s| s.system.remove("Select"));
}

#[test]
fn a_system_must_be_generalised_unless_it_is_specialised() {
    expect("not-generalised", Error, "IMAGE_STATE_COMPLETE", |s| {
        s.software.string(STATE, "ImageState", "IMAGE_STATE_COMPLETE");
    });
    expect("not-generalised", Error, "there is no ImageState", |s| s.software.remove(STATE));
    expect_nothing(|s| {
        s.software.remove(STATE);
        s.options.destination = Destination::GallerySpecialized;
    });
}

#[test]
fn provisioning_needs_the_dvd_and_the_network() {
    expect("dvd-off", Error, "cdrom", |s| {
        s.service("cdrom", 4);
    });
    expect_nothing(|s| {
        s.service("cdrom", 4);
        s.options.destination = Destination::GallerySpecialized;
    });
    expect("no-network-driver", Error, "netvsc", |s| {
        s.service("netvsc", 4);
    });
    expect("no-network-driver", Error, "netvsc", |s| s.system.remove(&format!("{SERVICES}\\netvsc")));
}

#[test]
fn remote_desktop_must_be_reachable() {
    let server = "ControlSet001\\Control\\Terminal Server";
    let policy = "Policies\\Microsoft\\Windows NT\\Terminal Services";
    let rules = format!("{SERVICES}\\SharedAccess\\Parameters\\FirewallPolicy\\FirewallRules");
    expect("rdp-off", Warning, "fDenyTSConnections", |s| {
        s.system.dword(server, "fDenyTSConnections", 1);
    });
    expect("rdp-off", Warning, "policy", |s| {
        s.software.dword(policy, "fDenyTSConnections", 1);
    });
    expect_nothing(|s| {
        s.software.dword(policy, "fDenyTSConnections", 0);
    });
    expect("rdp-off", Warning, "firewall", |s| {
        s.system.string(&rules, "RemoteDesktop-UserMode-In-TCP", "v2.31|Action=Allow|Active=FALSE|Dir=In|");
    });
    expect_nothing(|s| s.system.remove(&rules));
    expect("rdp-port", Warning, "port 3390", |s| {
        s.system.dword(&format!("{server}\\WinStations\\RDP-Tcp"), "PortNumber", 3390);
    });
}

#[test]
fn services_must_not_be_disabled() {
    let essential = ["BFE", "Dhcp", "Dnscache", "mpssvc", "nsi", "TermService"];
    let usual = ["IKEEXT", "iphlpsvc", "Netlogon", "Netman", "WinHttpAutoProxySvc"];
    for name in essential.iter().chain(&usual) {
        expect("service-off", Warning, &format!("{name} is disabled"), |s| {
            s.service(name, 4);
        });
        expect_nothing(|s| {
            s.service(name, 3);
        });
    }
    for name in essential {
        expect("service-off", Warning, &format!("{name} is missing"), |s| {
            s.system.remove(&format!("{SERVICES}\\{name}"));
        });
    }
    for name in usual {
        expect_nothing(|s| s.system.remove(&format!("{SERVICES}\\{name}")));
    }
}

#[test]
fn settings_for_azure_are_notes() {
    expect("san-policy", Note, "SanPolicy is 2", |s| {
        s.system.dword(&format!("{SERVICES}\\partmgr\\Parameters"), "SanPolicy", 2);
    });
    expect("san-policy", Note, "not set", |s| s.system.remove(&format!("{SERVICES}\\partmgr\\Parameters")));
    expect("clock", Note, "local time", |s| s.system.remove("ControlSet001\\Control\\TimeZoneInformation"));
    let memory = "ControlSet001\\Control\\Session Manager\\Memory Management";
    expect("swap-on-os-disk", Note, "C:\\pagefile.sys 0 0", |s| {
        s.system.strings(memory, "PagingFiles", &["C:\\pagefile.sys 0 0"]);
    });
    expect_nothing(|s| {
        s.system.strings(memory, "PagingFiles", &[]);
    });
    expect("no-agent", Note, "agent", |s| s.system.remove(&format!("{SERVICES}\\WindowsAzureGuestAgent")));
    expect("no-serial-console", Note, "serial console", |s| {
        s.bcd.remove(&format!("Objects\\{}\\Elements\\260000b0", bcd::ENTRY));
    });
}

#[test]
fn fixed_addresses_and_routes_are_found() {
    let interface = format!("{SERVICES}\\Tcpip\\Parameters\\Interfaces\\{{1}}");
    expect("static-address", Warning, "10.1.2.3", |s| {
        s.system.dword(&interface, "EnableDHCP", 0).strings(&interface, "IPAddress", &["10.1.2.3"]);
    });
    expect_nothing(|s| {
        s.system.strings(&interface, "IPAddress", &["10.1.2.3"]);
    });
    expect_nothing(|s| {
        s.system.dword(&interface, "EnableDHCP", 0).strings(&interface, "IPAddress", &["0.0.0.0"]);
    });
    let routes = format!("{SERVICES}\\Tcpip\\Parameters\\PersistentRoutes");
    expect("static-address", Warning, "10.9.0.0", |s| {
        s.system.string(&routes, "10.9.0.0,255.255.0.0,10.1.0.1,1", "");
    });
    expect_nothing(|s| {
        s.system.key(&routes);
    });
}

#[test]
fn installations_must_be_complete() {
    expect("pending-restart", Warning, "RebootPending", |s| {
        s.software.key("Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending");
    });
    expect("pending-restart", Warning, "RebootRequired", |s| {
        s.software.key("Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired");
    });
    expect("pending-restart", Warning, "updates", |s| {
        s.file("/Windows/WinSxS/pending.xml", "");
    });
    expect("not-deprovisioned", Warning, "unattend.xml", |s| {
        s.file("/Windows/Panther/unattend.xml", "");
    });
    expect("not-deprovisioned", Note, "unattend.xml", |s| {
        s.file("/Windows/Panther/unattend.xml", "");
        s.options.destination = Destination::GallerySpecialized;
    });
}

#[test]
fn other_hypervisors_leave_drivers_and_tools() {
    expect("leftover-driver", Warning, "viostor (KVM)", |s| {
        s.service("viostor", 0);
    });
    expect("leftover-driver", Note, "vmxnet3ndis6 (VMware)", |s| {
        s.service("vmxnet3ndis6", 3);
    });
    expect_nothing(|s| {
        s.service("pvscsi", 4);
    });
    expect("guest-tools", Note, "VMware Tools", |s| {
        s.service("VMTools", 2).service("VGAuthService", 2);
    });
    expect_nothing(|s| {
        s.service("VMTools", 4);
    });
}

#[test]
fn nvme_is_a_note_unless_the_sizes_need_it() {
    expect("no-nvme", Note, "Start is 3", |s| {
        s.service("stornvme", 3);
    });
    expect("no-nvme", Note, "not registered", |s| s.system.remove(&format!("{SERVICES}\\stornvme")));
    for name in ["stornvme", "vpci", "pci"] {
        let key = format!("{SERVICES}\\{name}\\StartOverride");
        expect("no-nvme", Note, "StartOverride", |s| {
            s.system.dword(&key, "0", 3);
        });
        expect_nothing(|s| {
            s.system.dword(&key, "0", 0);
        });
    }
    expect("no-nvme", Error, "Start is 3", |s| {
        s.service("stornvme", 3);
        s.options.requirements.nvme = true;
    });
}

#[test]
fn a_hibernated_system_is_an_error() {
    for magic in ["HIBR", "hibr"] {
        expect("hibernated", Error, "hibernated", |s| {
            s.file("/hiberfil.sys", format!("{magic}...."));
        });
    }
    expect_nothing(|s| {
        s.file("/hiberfil.sys", [0; 4096]);
    });
}

#[test]
fn the_processor_must_suit_the_destination() {
    let kernel = "/Windows/System32/ntoskrnl.exe";
    let arm = |s: &mut Sample| {
        let loader = program(0xaa64, &signature("Microsoft Windows Production PCA 2011"));
        s.file(kernel, program(0xaa64, &[]));
        s.esp = s.esp.clone().file("/EFI/BOOT/BOOTAA64.EFI", loader);
    };
    expect("arm64", Error, "Arm64", arm);
    expect("arm64", Note, "Arm64", |s| {
        arm(s);
        (s.options.destination, s.options.requirements.arm64) = (Destination::GalleryGeneralized, true);
    });
    expect("not-64-bit", Error, "32-bit", |s| {
        s.file(kernel, program(0x14c, &[]));
    });
    // Without a readable kernel, PROCESSOR_ARCHITECTURE in the registry decides.
    expect("not-64-bit", Error, "32-bit", |s| {
        s.file(kernel, "");
        s.system.string("ControlSet001\\Control\\Session Manager\\Environment", "PROCESSOR_ARCHITECTURE", "x86");
    });
}

#[test]
fn the_boot_configuration_must_lead_to_a_partition_of_this_disk() {
    expect("no-bcd", Error, "there is no boot configuration /EFI", |s| s.bcd = Node::default());
    expect("no-bcd", Error, "no default entry", |s| s.bcd.remove(&format!("Objects\\{}", bcd::ENTRY)));
    expect("no-bcd", Warning, "which is not on this disk", |s| {
        s.bcd = bcd::store(bcd::device(6, 0, &[1; 16], &[]), true);
    });
    expect_nothing(|s| s.bcd = bcd::store(bcd::device(5, 0, &[], &[]), true));
    expect("hive-damaged", Error, "does not begin with", |s| {
        s.bcd = Node::default();
        s.esp = s.esp.clone().file("/EFI/Microsoft/Boot/BCD", "not a hive".repeat(100));
    });
    // Generation 1.
    let mut sample = Sample::bios();
    sample.bcd = bcd::store(bcd::device(6, 1, &0x10_0000_u64.to_le_bytes(), &1_u32.to_le_bytes()), true);
    let findings = sample.check().1;
    assert!(findings.len() == 1 && findings[0].message.contains("byte 1048576 of disk 00000001"), "{findings:#?}");
    // Made for generation 1, registered for generation 2.
    let mut sample = Sample::bios();
    sample.options.generation = Some(Generation::V2);
    let codes: Vec<&str> = sample.check().1.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["no-fallback-loader", "no-bcd"]);
    // The other way round.
    let mut sample = Sample::good();
    sample.options.generation = Some(Generation::V1);
    let codes: Vec<&str> = sample.check().1.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["no-bios-loader", "no-bcd"]);
}

#[test]
fn the_volume_that_the_boot_configuration_names_is_checked() {
    let sample = Sample::good();
    let mut machine = sample.machine();
    // Another Windows on the first partition, which is not the one that starts.
    let other = TreeFs::new(FsKind::Ntfs, "").file(SYSTEM, "damaged");
    let volume = machine.mounted[0].volume.clone();
    machine.mounted.insert(0, Mounted { volume, fs: Box::new(other) });
    let mut findings = Findings::new();
    check(&machine, &mut findings);
    assert!(findings.into_list().is_empty());
    assert_eq!(machine.mounted[2].volume.partition.as_ref().unwrap().part_uuid, PARTITION);
}

#[test]
fn the_loader_must_exist_and_be_signed_by_microsoft() {
    let path = "/EFI/BOOT/BOOTX64.EFI";
    expect("no-fallback-loader", Error, "BOOTX64", |s| s.esp = s.esp.clone().without(path));
    expect("secure-boot", Note, "not signed", |s| s.esp = s.esp.clone().file(path, program(0x8664, &[])));
    expect("secure-boot", Note, "Example CA", |s| {
        s.esp = s.esp.clone().file(path, program(0x8664, &signature("Example CA")));
    });
    expect("secure-boot", Error, "cannot be read", |s| {
        s.esp = s.esp.clone().file(path, "MZ");
        s.options.requirements.secure_boot = true;
    });
    let mut machine = Sample::good().machine();
    machine.mounted.remove(0);
    let mut findings = Findings::new();
    check(&machine, &mut findings);
    let codes: Vec<&str> = findings.into_list().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["esp-damaged", "no-bcd"]);
}

#[test]
fn hives_must_be_readable() {
    expect("hive-damaged", Error, "does not begin with", |s| {
        s.file(SYSTEM, [0; 8192]);
    });
    expect("hive-damaged", Error, "does not begin with", |s| {
        s.file(SOFTWARE, [0; 8192]);
    });
    expect("hive-damaged", Error, "the file ends", |s| {
        s.file(SOFTWARE, "");
    });
    let missing = after(|s| {
        let system = hive(&s.system, Lists::Lh);
        s.file(SYSTEM, &system[..system.len() - 4096]);
    });
    assert!(missing.iter().any(|finding| finding.code == "hive-damaged" && finding.path.as_deref() == Some(SYSTEM)));
    expect("fs-dirty", Warning, "not completely written", |s| {
        let mut bytes = hive(&s.system, Lists::Lf);
        crate::hive::build::put(&mut bytes, 4, 8);
        crate::hive::build::seal(&mut bytes);
        s.file(SYSTEM, bytes);
    });
}

#[test]
fn text_of_the_image_is_escaped() {
    let findings = after(|s| {
        s.software.string(STATE, "ImageState", "\x1b[31mred\u{202e}");
    });
    assert!(findings[0].message.contains("\\u{1b}[31mred\\u{202e}"), "{}", findings[0].message);
}
