//! Codes that only a Windows system can have.

use goldfleet_disk::Severity::{Error, Note, Warning};

use super::Code;

codes! {
    "All Windows codes.";
    /// Windows is not generalised.
    NOT_GENERALISED = "not-generalised", Error,
        "Windows is not generalised",
        "The value ImageState of `Microsoft\\Windows\\CurrentVersion\\Setup\\State` in the hive SOFTWARE is not \
         IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE. Virtual machines from such an image do not finish provisioning \
         (OSProvisioningTimedOut), or share a computer name and security identifiers. It is not reported for a specialised \
         image.",
        "%WINDIR%\\System32\\Sysprep\\sysprep.exe /generalize /oobe /shutdown";
    /// A driver that Windows needs to find its disk does not start at boot.
    BOOT_DRIVER = "boot-driver", Error,
        "a driver for the disk does not start at boot",
        "Windows finds its disk on Azure only if vmbus, storvsc, disk, partmgr, volmgr, volsnap and mountmgr start at boot: \
         their value Start under `Services` in the current control set is 0, no StartOverride replaces it, and their files \
         are in `System32\\drivers`. Otherwise Windows stops with INACCESSIBLE_BOOT_DEVICE. Windows sets StartOverride for \
         drivers whose hardware was absent when it was installed.",
        "reg add HKLM\\SYSTEM\\CurrentControlSet\\Services\\NAME /v Start /t REG_DWORD /d 0 /f";
    /// A registry hive cannot be read.
    HIVE_DAMAGED = "hive-damaged", Error,
        "a registry hive cannot be read",
        "The hive SYSTEM or SOFTWARE, or the boot configuration (BCD), is missing or damaged: its header, its bins or a key \
         that the check needs. Windows stops with BAD_SYSTEM_CONFIG_INFO, or repairs the hive in an unknown way.",
        "Restore the hive from a backup. Windows has not kept copies in System32\\config\\RegBack since version 1803.";
    /// The boot configuration is missing or names another disk.
    NO_BCD = "no-bcd", Error,
        "the Windows boot configuration does not lead to Windows",
        "`EFI\\Microsoft\\Boot\\BCD` on the EFI system partition (generation 2) or `Boot\\BCD` (generation 1) is missing or has \
         no default entry. It is a warning if the device of the default entry is not a partition of this disk.",
        "bcdboot C:\\Windows /s S: /f ALL, where S: is the system partition";
    /// Remote Desktop is off.
    RDP_OFF = "rdp-off", Warning,
        "Remote Desktop is switched off",
        "fDenyTSConnections of `Control\\Terminal Server`, or of the policy in SOFTWARE, denies Remote Desktop, or the \
         firewall's rule RemoteDesktop-UserMode-In-TCP is not active. Virtual machines cannot be reached that way.",
        "reg add \"HKLM\\SYSTEM\\CurrentControlSet\\Control\\Terminal Server\" /v fDenyTSConnections /t REG_DWORD /d 0 /f";
    /// Remote Desktop listens on another port.
    RDP_PORT = "rdp-port", Warning,
        "Remote Desktop does not use port 3389",
        "PortNumber of `Control\\Terminal Server\\WinStations\\RDP-Tcp` is not 3389. Azure's portal and the usual network \
         security rules use 3389.",
        "reg add \"HKLM\\SYSTEM\\CurrentControlSet\\Control\\Terminal Server\\WinStations\\RDP-Tcp\" /v PortNumber /t REG_DWORD /d 3389 /f";
    /// A service that Azure needs is disabled.
    SERVICE_OFF = "service-off", Warning,
        "a service that Azure needs is disabled",
        "Start of a service is 4 (disabled), or an essential service is missing. Without BFE, Dhcp, Dnscache, nsi and mpssvc \
         there is no network, without TermService no Remote Desktop; the others are those that Microsoft's preparation of \
         Windows images sets.",
        "sc.exe config NAME start= auto";
    /// New disks stay offline.
    SAN_POLICY = "san-policy", Note,
        "data disks stay offline",
        "SanPolicy of `Services\\partmgr\\Parameters` is not 1 (OnlineAll). Windows Server then leaves disks on shared buses \
         offline until an administrator brings them online.",
        "Run diskpart, and in it: san policy=onlineall";
    /// Windows must restart to finish an installation.
    PENDING_RESTART = "pending-restart", Warning,
        "Windows must restart to finish an installation",
        "`Windows\\WinSxS\\pending.xml` exists, or SOFTWARE has the key RebootPending or RebootRequired. Updates are not \
         complete; each virtual machine finishes them at its first start, or fails to.",
        "Restart Windows until nothing is pending, and generalise it again.";
    /// Drivers of another hypervisor.
    LEFTOVER_DRIVER = "leftover-driver", Note,
        "drivers of another hypervisor are installed",
        "The services of drivers of VMware, VirtualBox, KVM, Xen or another cloud are in the current control set. It is a \
         warning if one starts at boot (Start is 0), when it can stop Windows before the disk is found.",
        "Uninstall the hypervisor's tools and drivers.";
}
