//! Codes of Linux systems, and codes that any system can have.

use goldfleet_disk::Severity::{Error, Note, Warning};

use super::Code;

codes! {
    "All Linux codes and general codes.";
    /// A driver that the root file system needs is missing.
    NO_STORAGE_DRIVER = "no-storage-driver", Error,
        "a driver for the disk is not available at boot",
        "On Azure the OS disk is a SCSI disk of Hyper-V. The kernel mounts the root file system, and a separate `/usr`, only if \
         it has hv_vmbus, hv_storvsc, sd_mod, the driver of the file system, and dm_mod for LVM, each built in \
         (`modules.builtin`) or as a module in its initramfs. LVM also needs the program `lvm` in the initramfs. Otherwise the \
         boot stops before the root is mounted. It is an error if the default kernel lacks a driver, or all kernels if the \
         default is not known, and a warning for other kernels.",
        "Add the drivers to the initramfs and build it again.";
    /// No program would provision the virtual machine.
    NO_PROVISIONING = "no-provisioning", Error,
        "no program provisions the virtual machine",
        "A generalised image needs cloud-init, the Azure Linux agent (waagent) or azure-init, enabled. Otherwise the host \
         name, the user and the SSH key are not set, and the deployment fails with OSProvisioningTimedOut after 20 to 40 \
         minutes. Detected by their programs, units and switches such as `/etc/cloud/cloud-init.disabled`. It is a note for \
         a specialised image.",
        "Install cloud-init and enable its services.";
    /// cloud-init would not use the Azure datasource.
    CLOUD_INIT_DATASOURCE = "cloud-init-datasource", Error,
        "cloud-init does not use the Azure datasource",
        "The last `datasource_list` in `/etc/cloud/cloud.cfg` and `/etc/cloud/cloud.cfg.d` does not contain Azure, or \
         `/etc/cloud/ds-identify.cfg` disables cloud-init or selects another datasource. cloud-init then ignores Azure's \
         provisioning data. It is a warning if waagent provisions, and for a specialised image.",
        "echo 'datasource_list: [ Azure ]' > /etc/cloud/cloud.cfg.d/91-azure_datasource.cfg";
    /// The EFI system partition has no loader at the fallback path.
    NO_FALLBACK_LOADER = "no-fallback-loader", Error,
        "the EFI fallback loader is missing",
        "The EFI variables that name a loader are not part of a disk, so that the firmware of a new virtual machine starts \
         `EFI/BOOT/BOOTX64.EFI` (`BOOTAA64.EFI` for Arm64) of the EFI system partition. It is also reported if that file is \
         shim, and neither GRUB (`grubx64.efi`) nor the fallback program (`fbx64.efi`) is beside it. It is an error for \
         generation 2, and is not checked for generation 1. If the generation is not known and the disk boots by BIOS, it is a \
         note.",
        "Install the loader at the removable path.";
    /// Generation 1 without a loader in the boot sector.
    NO_BIOS_LOADER = "no-bios-loader", Error,
        "the boot sector holds no loader for generation 1",
        "Virtual machines of generation 1 boot by BIOS: they start the code in the first sector of the disk, which the disk \
         does not have. It is checked only if the image is of generation 1.",
        "grub-install --target=i386-pc DISK, or register the image with generation 2.";
    /// A configuration names a device by a name that is different on Azure.
    DEVICE_NAME = "device-name", Warning,
        "a device is named by a name that is not stable",
        "`/dev/sda` and the like depend on the order in which disks are found, and names such as `/dev/vda` or \
         `/dev/nvme0n1` do not exist on the usual Azure virtual machine. Examined are `/etc/fstab`, `/etc/crypttab`, the \
         kernel command lines (`root=`, `resume=`) and dracut's command lines inside the initramfs. Names of logical \
         volumes that are not on this disk are reported too. It is an error if the system does not boot without the device: an \
         entry of fstab without `nofail`, or `root=` with a name that no device on Azure has. A root in fstab is mounted already, \
         so that its name is only a warning.",
        "Use UUID= as `blkid` prints it.";
    /// A file system in fstab is not on the disk.
    FSTAB_MISSING = "fstab-missing", Error,
        "fstab names a file system that is not on the disk",
        "An entry of `/etc/fstab` without `nofail` or `noauto` names a UUID, LABEL, PARTUUID or PARTLABEL that no volume of \
         this disk has. systemd waits 90 seconds for it and then starts the emergency shell, without network.",
        "Correct the entry, or add the options nofail,x-systemd.device-timeout=10 to it.";
    /// `root=` names a file system that is not on the disk.
    ROOT_MISSING = "root-missing", Error,
        "the kernel command line names a root that is not on the disk",
        "`root=` of a boot entry names a UUID, LABEL or PARTUUID that no volume of this disk has. The boot stops in the \
         initramfs. It is an error for the default entry and a warning for others.",
        "Correct root= and update the boot loader's configuration.";
    /// A volume is encrypted.
    ENCRYPTED = "encrypted", Error,
        "a volume is encrypted",
        "A volume begins with the signature of LUKS or BitLocker. Nothing inside it can be checked, and virtual machines \
         from a generalised image cannot unlock it. It is a warning for a specialised image, whose key may be available.",
        "Prepare the image from a system without encryption; use Azure's encryption at host instead.";
    /// A needed driver may not be loaded.
    DRIVER_FORBIDDEN = "driver-forbidden", Warning,
        "a driver that Azure needs is forbidden",
        "`blacklist` or `install … /bin/true` in a modprobe.d folder, of the root or of the initramfs, or \
         `module_blacklist=` on the kernel command line. It is an error for hv_vmbus, hv_storvsc and hv_netvsc, and a \
         warning for udf and vfat (the provisioning data is on a UDF disc), pci_hyperv and nvme.",
        "Remove the line, and build the initramfs again.";
    /// There is no kernel.
    NO_KERNEL = "no-kernel", Error,
        "there is no Linux kernel",
        "Neither `/boot`, nor `/usr/lib/modules`, nor the EFI system partition holds a Linux kernel or a unified kernel \
         image.",
        "Install a kernel package.";
    /// The system is for Arm64.
    ARM64 = "arm64", Error,
        "the system is for Arm64",
        "The machine type in the header of the kernel or loader is Arm64. A managed image cannot hold an Arm64 system. It is \
         a note if the gallery's image definition is for Arm64.",
        "Use a gallery image definition with the architecture Arm64.";
    /// The system is 32-bit.
    NOT_64_BIT = "not-64-bit", Error,
        "the system is not 64-bit",
        "The kernel is for a 32-bit processor. Azure runs only 64-bit systems.",
        "Install a 64-bit system.";
    /// An initramfs cannot be read completely.
    INITRAMFS_DAMAGED = "initramfs-damaged", Error,
        "an initramfs cannot be read",
        "The initramfs of a kernel is missing, cut off, or its compression or archive is damaged. It is an error for the \
         default kernel and a warning for others.",
        "Build the initramfs again.";
    /// The EFI system partition cannot be read.
    ESP_DAMAGED = "esp-damaged", Error,
        "the EFI system partition cannot be read",
        "The partition of the type EFI system is not a readable FAT file system, so that the firmware finds no loader. It is \
         a warning if the disk also boots by BIOS.",
        "Repair it by `fsck.vfat -a`, or make it again and reinstall the loader.";
    /// The system on the disk is not the stated one.
    OS_MISMATCH = "os-mismatch", Error,
        "the disk holds another system than the stated one",
        "`upload --os` states Linux, and Windows was found on the disk, or the other way round. Azure provisions a virtual machine \
         as the image states, so that it never reports that it is ready, and the deployment fails with \
         OSProvisioningTimedOut.",
        "State the system that is on the disk.";
    /// The disk holds the memory of a hibernated system.
    HIBERNATED = "hibernated", Error,
        "the system is hibernated",
        "The disk holds the memory of a hibernated system: swap space with a hibernation signature, or Windows' \
         `hiberfil.sys`. Its file systems are still in use by that system. Virtual machines made from it resume with memory \
         that does not match their hardware, or lose data.",
        "Start the system, shut it down completely, and make the image again.";
    /// The provisioning disc cannot be read.
    DVD_OFF = "dvd-off", Warning,
        "the provisioning disc cannot be read",
        "Azure hands over the provisioning data on a virtual DVD with a UDF file system. Linux needs sr_mod and udf for it, \
         unless cloud-init is 21.2 or newer, which asks Azure's wireserver first; Windows needs the service cdrom. It is an \
         error for a generalised Windows system, and if waagent is the only program that provisions a generalised Linux \
         system.",
        "Install the kernel package that contains the modules udf and sr_mod.";
    /// The network driver is missing.
    NO_NETWORK_DRIVER = "no-network-driver", Error,
        "the network driver is missing",
        "Azure's network adapter needs hv_netvsc, built in or as a module. It is a warning if it is missing only in an \
         initramfs that configures the network (dracut with `rd.neednet` or the network module).",
        "Install the kernel package that contains the module hv_netvsc.";
    /// A dracut configuration omits or misspells drivers.
    DRACUT_OMITS = "dracut-omits", Warning,
        "the next initramfs may lack Hyper-V drivers",
        "A file of `/etc/dracut.conf.d` omits Hyper-V drivers (`omit_drivers`), or `add_drivers+=` lacks the spaces inside \
         its quotes, so that its first and last names are joined with those of other files. The initramfs that the next \
         kernel update builds will lack the drivers.",
        "Write add_drivers+=\" hv_vmbus hv_netvsc hv_storvsc \" with a space after the first and before the last quote.";
    /// A network interface has a fixed address.
    STATIC_ADDRESS = "static-address", Warning,
        "a network interface has a fixed address",
        "A network configuration gives an Ethernet interface a fixed address, or binds it to a MAC address. Azure assigns \
         addresses by DHCP, and each virtual machine has another MAC address, so that the virtual machine has no network.",
        "Configure the interface for DHCP and remove the MAC address.";
    /// A udev rule keeps the name of a network interface.
    UDEV_NET = "udev-net", Warning,
        "a udev rule binds the network interface to a MAC address",
        "`70-persistent-net.rules` or `75-persistent-net-generator.rules` gives the interface of a new virtual machine \
         another name (eth1), for which there is no configuration.",
        "rm -f /etc/udev/rules.d/70-persistent-net.rules /etc/udev/rules.d/75-persistent-net-generator.rules";
    /// Traces of an earlier provisioning.
    NOT_DEPROVISIONED = "not-deprovisioned", Warning,
        "traces of an earlier provisioning remain",
        "State of an earlier instance is in the image: cloud-init instances, waagent certificates, SSH host keys, a \
         machine-id, DHCP leases, or Windows' Panther folder. Virtual machines share keys and identifiers, and provisioning \
         may consider itself done. It is a note for a specialised image.",
        "waagent -deprovision+user -force; cloud-init clean --logs --machine-id; rm -f /etc/ssh/ssh_host_*";
    /// An account has a password.
    PASSWORD = "password", Warning,
        "an account has a password",
        "An account in `/etc/shadow` has a password, or an empty one, which every virtual machine from the image shares.",
        "passwd -l USER";
    /// Authorized SSH keys.
    AUTHORIZED_KEYS = "authorized-keys", Warning,
        "an account has authorized SSH keys",
        "`authorized_keys` of an account contains keys. Whoever has the private key can enter every virtual machine from the \
         image.",
        "Remove the file, unless access by this key is intended.";
    /// Shell histories.
    HISTORY = "history", Warning,
        "a shell history remains",
        "The history of a shell in a home folder has more than 1 KiB. It may contain secrets.",
        "Remove the history files before the image is captured.";
    /// Swap on the OS disk.
    SWAP = "swap-on-os-disk", Warning,
        "there is swap space on the OS disk",
        "Swap space on the OS disk is slow and is charged; Azure has a local temporary disk for it. Detected by the swap \
         signature, fstab, or the registry (a page file that is not on D:, a note).",
        "Remove the entry from fstab; let cloud-init or waagent create swap space on the temporary disk.";
    /// The kernel does not write to the serial port.
    NO_SERIAL_CONSOLE = "no-serial-console", Warning,
        "the kernel does not use the serial console",
        "No `console=ttyS0` (`ttyAMA0` for Arm64) is on the kernel command line of the default entry. Azure's boot \
         diagnostics and serial console stay empty when a boot fails. For Windows it is a note about Emergency Management \
         Services in the boot configuration.",
        "Add console=tty1 console=ttyS0,115200n8 to the kernel command line.";
    /// No SSH server.
    NO_SSHD = "no-sshd", Warning,
        "no SSH server is enabled",
        "No SSH server is installed or its service is not enabled. Virtual machines cannot be reached.",
        "Install an SSH server and enable its service.";
    /// A file system was not cleanly unmounted.
    FS_DIRTY = "fs-dirty", Warning,
        "a file system was not cleanly unmounted",
        "The disk was copied from a running or crashed system: a journal, log or dirty flag says that changes are not \
         complete, or a registry hive of Windows does. The check sees ext4 and XFS as after the replay of the journal, and btrfs as of the last commit.",
        "Shut the system down, and make the image again.";
    /// A file system is larger than its volume.
    FS_CUT_OFF = "fs-cut-off", Error,
        "a file system is larger than its volume",
        "The superblock of a file system states more bytes than the partition or logical volume has: the image was cut off, or \
         the partition was made smaller than the file system. The kernel refuses to mount it.",
        "Make the image again, or enlarge the partition.";
    /// Tools of another hypervisor.
    GUEST_TOOLS = "guest-tools", Note,
        "guest tools of another hypervisor are installed",
        "VMware Tools, VirtualBox Guest Additions or the QEMU guest agent are installed. They are of no use on Azure.",
        "Remove the package.";
    /// No NVMe driver at boot.
    NO_NVME = "no-nvme", Note,
        "the NVMe driver is not available at boot",
        "Sizes with NVMe disks (such as the v6 and later series) need nvme and, for Azure, pci_hyperv, built in or in the \
         initramfs. Windows needs stornvme started at boot, and no StartOverride of stornvme, vpci and pci. It is an error \
         if the image is meant for such sizes.",
        "Add nvme and pci-hyperv to the initramfs and build it again.";
    /// What Secure Boot would say.
    SECURE_BOOT = "secure-boot", Note,
        "the loader is not signed for Secure Boot",
        "Virtual machines with Trusted Launch start only loaders that are signed by Microsoft's certificate authority. The \
         signer's name in the loader is read; the signature is not verified. It is an error if the image is meant for Trusted Launch.",
        "Install the distribution's signed shim and GRUB, or do not use Secure Boot.";
    /// No Azure agent.
    NO_AGENT = "no-agent", Note,
        "the Azure agent is not installed",
        "cloud-init provisions without the Azure agent, but extensions need it.",
        "Install the agent, if extensions are used.";
    /// The root is on LVM.
    LVM = "lvm", Note,
        "the root is on a logical volume",
        "Azure recommends against LVM on the OS disk: attaching the disk to another virtual machine for repair is harder \
         when the names of volume groups collide.",
        "";
    /// The clock.
    CLOCK = "clock", Note,
        "no service sets the clock",
        "Neither chrony, nor systemd-timesyncd, nor ntpd is enabled, or the hardware clock is in local time. Azure's host \
         clock is UTC.",
        "Install chrony and enable its service.";
    /// The distribution is not endorsed.
    NOT_ENDORSED = "not-endorsed", Note,
        "the distribution is not in the list of endorsed ones",
        "Microsoft endorses AlmaLinux, Debian, Flatcar, Oracle Linux, Red Hat Enterprise Linux, Rocky Linux, SUSE Linux \
         Enterprise Server and Ubuntu (its page 'Endorsed Linux distributions on Azure' of 2024-11-14), and makes Azure Linux \
         itself. Versions are not compared. Another distribution may work as well.",
        "";
    /// The system that was found.
    SYSTEM = "system", Note,
        "the operating system of the disk",
        "The distribution or edition, version, kernel and agents that were found.",
        "";
    /// Something could not be inspected.
    NOT_INSPECTED = "not-inspected", Warning,
        "a part of the disk could not be inspected",
        "The check could not look inside the disk or a part of it, for the reason that the message states: a file system or \
         layout that is not supported, damage, or a limit of the inspection. Nothing is known about that part. It is an \
         error if an inspection is required (`--inside require`).",
        "Boot a copy of the image to check that part by hand.";
}
