#!/usr/bin/env python3
"""Clones of a machine by real processes that are killed at random.

A machine that runs has an OS disk and three data disks: ext4, XFS, and random data. It is cloned to its own region, to another
region and subscription, with --stop and with --live, and with --disks-only, in turn, until the number of kills is reached. A dispatcher and 3 workers do the work; every
0.05 to 0.5 s one of them is killed with SIGKILL and started again. After each clone its disks must have the bytes of the source, and
the LUNs, caches, sizes and tiers that were requested; the source must run and be unchanged, and no temporary may be left.

    cargo build -p goldfleet-dispatcher -p goldfleet-worker && python3 tests/machines_killed.py [--seed N] [--kills N]

The full form, 200 kills, is run before a release. tests/run.sh runs a short form.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
import uuid

import killed_fleet

HOME = ("00000000-0000-0000-0000-000000000001", "westeurope", "prod")
PLACES = [
    ("00000000-0000-0000-0000-000000000001", "westeurope", "clones"),
    ("00000000-0000-0000-0000-000000000002", "eastus", "clones"),
]
MIB = 1 << 20
# The LUN of each disk (None for the OS disk), its size, cache and tier.
DISKS = [(None, 24 * MIB, "ReadWrite", "Premium_LRS"), (0, 20 * MIB, "None", "Premium_LRS"),
         (3, 320 * MIB, "ReadOnly", "StandardSSD_LRS"), (7, 20 * MIB, "None", "Standard_LRS")]


def folder_of(root, place, kind):
    subscription, _, group = place
    return root / "cloud/subscriptions" / subscription / "resourceGroups" / group / kind


def id_of(place, kind, name):
    subscription, _, group = place
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/{kind}/{name}"


def lun_name(lun):
    return "os" if lun is None else str(lun)


def make_content(file, number, size, rng):
    """Writes the content of a disk: partitions or a file system if the tools exist, and random blocks."""
    with open(file, "wb") as content:
        content.truncate(size)
    tool = {1: ["mke2fs", "-q", "-F", "-t", "ext4"], 2: ["mkfs.xfs", "-q", "-f"]}.get(number)
    path = "/usr/sbin:/sbin:/usr/bin:/bin"
    if tool and shutil.which(tool[0], path=path):
        subprocess.run([shutil.which(tool[0], path=path), *tool[1:], str(file)], check=True)
    with open(file, "r+b") as content:
        if number == 0:
            content.seek(510)
            content.write(b"\x55\xaa")
        for _ in range(8):
            content.seek(rng.randrange(size // 4096 // 2, size // 4096) * 4096)
            content.write(rng.randbytes(4096))


def make_machine(root, rng):
    """Writes the machine and its disks as the directory cloud stores them. Returns the id of the machine."""
    machine = id_of(HOME, "virtualMachines", "web")
    disks = folder_of(root, HOME, "disks")
    disks.mkdir(parents=True)
    attached = []
    for number, (lun, size, cache, sku) in enumerate(DISKS):
        name = f"web-{lun_name(lun)}"
        make_content(disks / f"{name}.disk", number, size, rng)
        properties = {
            "creationData": {"createOption": "Upload", "uploadSizeBytes": size + 512},
            "diskSizeBytes": size, "diskSizeGB": 1, "diskState": "Attached", "provisioningState": "Succeeded",
            "timeCreated": "2026-11-01T00:00:00Z", "uniqueId": str(uuid.UUID(int=rng.getrandbits(128))),
        }
        if lun is None:
            properties |= {"osType": "Linux", "hyperVGeneration": "V2"}
        body = {"location": HOME[1], "tags": {"owner": "payments"}, "sku": {"name": sku}, "managedBy": machine,
                "properties": properties}
        (disks / f"{name}.json").write_text(json.dumps(body))
        disk = {"createOption": "Attach", "caching": cache, "managedDisk": {"id": id_of(HOME, "disks", name)}}
        attached.append(disk | ({"osType": "Linux"} if lun is None else {"lun": lun}))
    properties = {
        "vmId": str(uuid.UUID(int=rng.getrandbits(128))), "provisioningState": "Succeeded",
        "hardwareProfile": {"vmSize": "Standard_D4s_v5"}, "licenseType": "RHEL_BYOS",
        "storageProfile": {"osDisk": attached[0], "dataDisks": attached[1:]},
        "instanceView": {"statuses": [{"code": "ProvisioningState/succeeded"}, {"code": "PowerState/running"}]},
    }
    machines = folder_of(root, HOME, "virtualMachines")
    machines.mkdir(parents=True)
    (machines / "web.json").write_text(json.dumps({"location": HOME[1], "tags": {"app": "shop"}, "properties": properties}))
    return machine


def digest(file, size):
    """A hash of the content of a disk, without the footer of an uploaded one."""
    with open(file, "rb") as content:
        return hashlib.sha256(content.read(size)).hexdigest()


def power(root):
    machine = json.loads((folder_of(root, HOME, "virtualMachines") / "web.json").read_text())
    codes = [status["code"] for status in machine["properties"]["instanceView"]["statuses"]]
    return next(code for code in codes if code.startswith("PowerState/"))


def faults_of(root, name, place, disks_only, sku, expected):
    """What is wrong with a clone, its source and what is left of temporaries."""
    faults = []
    disks = folder_of(root, place, "disks")
    for (lun, size, _, own_sku), content in zip(DISKS, expected):
        file = disks / f"{name}-{lun_name(lun)}.json"
        if not file.exists():
            faults.append(f"{file.name} does not exist")
            continue
        disk = json.loads(file.read_text())
        if digest(file.with_suffix(".disk"), size) != content:
            faults.append(f"{file.name} has other bytes")
        if (disk["location"], disk["sku"]["name"]) != (place[1], sku or own_sku):
            faults.append(f"{file.name}: {disk['location']} {disk['sku']}")
    machine = folder_of(root, place, "virtualMachines") / f"{name}.json"
    if machine.exists() == disks_only:
        faults.append("there is a machine" if disks_only else "there is no machine")
    elif not disks_only:
        clone = json.loads(machine.read_text())["properties"]
        profile = clone["storageProfile"]
        found = [(disk.get("lun"), disk["caching"], disk["managedDisk"]["id"].lower())
                 for disk in [profile["osDisk"], *profile["dataDisks"]]]
        wanted = [(lun, cache, id_of(place, "disks", f"{name}-{lun_name(lun)}").lower()) for lun, _, cache, _ in DISKS]
        if found != wanted:
            faults.append(f"disks of the machine: {found}")
        if (clone["hardwareProfile"]["vmSize"], clone["licenseType"]) != ("Standard_D4s_v5", "RHEL_BYOS"):
            faults.append(f"properties of the machine: {clone}")
    if power(root) != "PowerState/running":
        faults.append(f"the source is in {power(root)}")
    for (lun, size, _, _), content in zip(DISKS, expected):
        if digest(folder_of(root, HOME, "disks") / f"web-{lun_name(lun)}.disk", size) != content:
            faults.append(f"disk {lun_name(lun)} of the source has changed")
    temporaries = ("snapshots", "*.json"), ("restorePointCollections", "*.json"), ("disks", "gf-temporary-*.json")
    left = [file for at in [HOME, *PLACES] for kind, names in temporaries for file in folder_of(root, at, kind).glob(names)]
    return faults + [f"{file.name} is left" for file in left]


def main():
    parser = killed_fleet.arguments(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    fleet = killed_fleet.Fleet("machines", killed_fleet.config(HOME[0], "500ms"), given.programs, rng)
    root, run = fleet.folder, fleet.run
    machine = make_machine(root, rng)
    for place in PLACES:
        folder_of(root, place, "disks").mkdir(parents=True)
    expected = [digest(folder_of(root, HOME, "disks") / f"web-{lun_name(lun)}.disk", size) for lun, size, _, _ in DISKS]
    run("setup")
    fleet.start()
    begun, clones, faults, slowest = time.monotonic(), 0, [], 0.0
    while fleet.kills < given.kills and not faults and time.monotonic() - begun < 1800:
        name, place = f"copy{clones}", PLACES[clones % 2]
        disks_only, sku = clones % 3 == 2, "StandardSSD_LRS" if clones % 5 == 4 else None
        subnet = f"/subscriptions/{place[0]}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
        words = ["--to", "/".join(place), "--name", name, "--live" if clones % 4 > 1 else "--stop", "--yes"]
        words += ["--disks-only"] if disks_only else ["--subnet", subnet]
        words += ["--disk-sku", sku] if sku else []
        requested = run("vm", "clone", machine, *words)
        job, at, state = requested.stdout.strip(), time.monotonic(), "running"
        if requested.returncode != 0:
            faults.append(f"{name}: {requested.stdout}{requested.stderr}")
            break
        while state == "running" and time.monotonic() - at < 120:
            time.sleep(rng.uniform(0.05, 0.5))
            fleet.kill_one()
            status = json.loads(run("status", job, "--output", "json").stdout or '{"state": "running"}')
            state = status["state"]
        clones, slowest = clones + 1, max(slowest, time.monotonic() - at)
        if state != "succeeded":
            faults.append(f"{name}: the job is {state}: {status.get('failures')} {status.get('reason')}")
        faults += [f"{name}: {fault}" for fault in faults_of(root, name, place, disks_only, sku, expected)]
        for kind in ("disks", "virtualMachines"):
            for file in folder_of(root, place, kind).glob(f"{name}*"):
                file.unlink()  # the clone was checked, and 360 MiB each would fill the disk
    fleet.stop()
    seconds = time.monotonic() - begun
    summary = f"seed {given.seed}: {clones} clones of 4 disks, {fleet.kills} kills, {seconds:.0f} s, slowest clone {slowest:.1f} s"
    return fleet.report(summary, faults)


if __name__ == "__main__":
    sys.exit(main())
