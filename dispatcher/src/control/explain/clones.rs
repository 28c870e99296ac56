//! Codes of clones of virtual machines: why a clone is refused, what it does not copy, and why an operation fails.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["machine-running"],
        cause: "The machine runs, so its disks would be copied at different moments.",
        remedy: "Stop the machine, or use `--stop`, which starts it again. A retry does not stop it again: stop it yourself and \
                 run `goldfleet retry JOB`, or run `goldfleet vm clone` again.",
    },
    Code {
        codes: &["machine-foreign", "disk-foreign"],
        cause: "A resource has the name of the clone or of one of its disks, and this job did not create it. It is never changed.",
        remedy: "Choose other names with `--name` or `--disk-name`; or delete or rename that resource and run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["name-invalid"],
        cause: "A name or an id in the request is not valid, or the clone would get a name that the source has.",
        remedy: "Correct the option that the reason names.",
    },
    Code {
        codes: &["ade-encrypted"],
        cause: "Azure Disk Encryption encrypts a disk inside the operating system. Its keys stay in the key vault of the source.",
        remedy: "Use encryption at host or a disk encryption set instead.",
    },
    Code {
        codes: &["confidential"],
        cause: "The machine or one of its disks is confidential. Its keys stay with the machine.",
        remedy: "Such machines cannot be cloned.",
    },
    Code {
        codes: &["ephemeral-disk"],
        cause: "The OS disk is on the host of the machine, and has no snapshots.",
        remedy: "Create the machine again from its image.",
    },
    Code {
        codes: &["unmanaged"],
        cause: "A disk of the machine is a blob in a storage account, and no managed disk.",
        remedy: "Convert the machine to managed disks first.",
    },
    Code {
        codes: &["shared-disk"],
        cause: "Several machines can attach the disk, so others may write to it while it is copied.",
        remedy: "Detach the shared disk, or set `maxShares` to 1, and clone again.",
    },
    Code {
        codes: &["sector-4096"],
        cause: "The disk has sectors of 4,096 bytes. Such disks can only be copied to disks of the same type.",
        remedy: "Detach the disk and copy it with its own tools.",
    },
    Code {
        codes: &["not-hydrated"],
        cause: "The content of a disk has not arrived yet: it was created from a snapshot shortly before.",
        remedy: "Wait until the service reports 100 percent, and clone again.",
    },
    Code {
        codes: &["hyperv-mismatch"],
        cause: "The machine has Trusted Launch, which needs a disk of generation 2, and its OS disk has generation 1.",
        remedy: "Correct the generation of the disk, or the security type of the machine.",
    },
    Code {
        codes: &["plan-missing"],
        cause: "The machine has a purchase plan without name, publisher or product, so the service would refuse the clone.",
        remedy: "Create the machine again from its marketplace image.",
    },
    Code {
        codes: &["disk-sku-invalid"],
        cause: "An OS disk, or a disk of an image, cannot have the performance tier.",
        remedy: "Choose another one with `--disk-sku`.",
    },
    Code {
        codes: &["subnet-elsewhere", "availability-set-elsewhere"],
        cause: "The subnet or the availability set cannot be used by a machine at the place of the clone.",
        remedy: "Name a subnet in the subscription and region of the clone, or an availability set in its resource group.",
    },
    Code {
        codes: &["des-elsewhere"],
        cause: "A disk encryption set is in another subscription or region than the clone.",
        remedy: "Name one there with `--des`.",
    },
    Code {
        codes: &["too-many-tags"],
        cause: "The machine or a disk has so many tags that those of goldfleet would exceed the limit of 50.",
        remedy: "Remove some tags.",
    },
    Code {
        codes: &["machine-unreadable", "machine-state-unknown"],
        cause: "The service does not report the id of the machine, or whether it runs.",
        remedy: "Inspect the machine. When the service reports its state again, run the command again.",
    },
    Code {
        codes: &["disk-not-found", "disk-elsewhere"],
        cause: "A disk of a machine does not exist, or is in another region or subscription.",
        remedy: "Check whether the disk was deleted. If it is a disk of the clone, run `goldfleet vm clone` again.",
    },
    Code {
        codes: &["disk-in-use"],
        cause: "Another machine, an upload or a SAS uses the disk.",
        remedy: "Detach the disk there, or end the access to it; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["machine-failed"],
        cause: "The service reports the clone as failed. goldfleet neither changes nor deletes a machine.",
        remedy: "Inspect the machine. Repair it, or delete it without its disks; then run `goldfleet retry JOB`.",
    },
    Code {
        codes: &["downtime-exceeded"],
        cause: "The source was stopped for as long as `--max-downtime` permits, and the snapshot of a disk had not \
                begun. It is not taken, so that the source could be started again.",
        remedy: "Find out in `goldfleet logs JOB` why the snapshot did not begin. Then run `goldfleet vm clone` \
                again, with a longer `--max-downtime` if needed.",
    },
    Code {
        codes: &["machine-not-deallocated"],
        cause: "An image is created from a machine that has no host, and this machine runs or has one.",
        remedy: "Deallocate the machine, mark it as generalised with `az vm generalize`, and run the command again.",
    },
    Code {
        codes: &["machine-not-generalized"],
        cause: "The machine is not marked as generalised. Machines from an image of it would have its host name, \
                accounts and keys, and may not start.",
        remedy: "Run `waagent -deprovision` or Sysprep inside the machine, deallocate it, and mark it with `az vm \
                generalize`. It cannot be started again after that: clone it first if you need it.",
    },
    Code {
        codes: &["image-security-type"],
        cause: "The machine has a security type such as Trusted Launch, and a managed image has none.",
        remedy: "Clone the machine, or its disks with `--disks-only`.",
    },
    Code {
        codes: &["machine-gone", "machine-changed"],
        cause: "The source was deleted, or created again, after the job was planned. The machine that has its name now is not touched.",
        remedy: "Run `goldfleet vm clone` again.",
    },
    Code {
        codes: &["machine-lun-invalid", "machine-size-missing"],
        cause: "Directory cloud: the request for a machine has no size, or two data disks with one LUN.",
        remedy: "Correct the properties of the source.",
    },
    Code {
        codes: &["machine-stopped"],
        cause: "A note: the source is deallocated while snapshots of its disks are created.",
        remedy: "Nothing needs to be done. If it ran, it is started again, also if the job fails or is cancelled.",
    },
    Code {
        codes: &["crash-consistent"],
        cause: "A note: `--live` takes the disks from a restore point of the source as it runs. Their state is that after a power failure.",
        remedy: "Nothing needs to be done if what runs on the source recovers from that. Otherwise clone it with `--stop`.",
    },
    Code {
        codes: &["image-generalized"],
        cause: "A note: an image has the content of the disks as it is.",
        remedy: "Nothing needs to be done if the system on the disks is generalised.",
    },
    Code {
        codes: &["max-downtime"],
        cause: "A note: the longest time for which the source stays stopped.",
        remedy: "Nothing needs to be done. `--max-downtime` changes it.",
    },
    Code {
        codes: &["clone-starts"],
        cause: "A note: the clone starts at once, with the host name, the accounts and the services of the source.",
        remedy: "Choose a subnet in which the clone does not disturb the source, or use `--disks-only`.",
    },
    Code {
        codes: &["network-not-copied", "settings-not-copied", "placement-not-copied", "export-denied"],
        cause: "A note: the reason lists what the clone does not get from its source.",
        remedy: "Set what the clone needs after it was created.",
    },
];
