#!/usr/bin/env python3
"""Clones of a machine by real processes that are killed at random.

A machine that runs has an OS disk and three data disks: ext4, XFS, and random data. It is cloned to its own region, to another
region and subscription, and with --disks-only, in turn, until the number of kills is reached. A dispatcher and 3 workers do the work; every
0.05 to 0.5 s one of them is killed with SIGKILL and started again. After each clone its disks must have the bytes of the source, and
the LUNs, caches, sizes and tiers that were requested; the source must run and be unchanged, and no temporary may be left.

    cargo build -p goldfleet-dispatcher -p goldfleet-worker && python3 tests/machines_killed.py [--seed N] [--kills N]

The full form, 200 kills, is run before a release. tests/run.sh runs a short form.
"""

import argparse
import hashlib
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME = ("00000000-0000-0000-0000-000000000001", "westeurope", "prod")
PLACES = [
    ("00000000-0000-0000-0000-000000000001", "westeurope", "clones"),
    ("00000000-0000-0000-0000-000000000002", "eastus", "clones"),
]
CONFIG = f"""
[coordination]
backend = "embedded"
path = "goldfleet.db"
[cloud]
backend = "directory"
root = "cloud"
[source]
subscription = "{HOME[0]}"
region = "westeurope"
account = "goldsource"
container = "golden"
[targets]
file = "targets.toml"
[worker]
lease = "3s"
[dispatch]
sweep = "500ms"
"""
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
    left = [file for at in [HOME, *PLACES] for file in folder_of(root, at, "snapshots").glob("*.json")]
    return faults + [f"{file.name} is left" for file in left]


class Fleet:
    """A dispatcher and workers, of which one is killed now and then."""

    def __init__(self, root, programs, rng):
        self.root, self.rng, self.kills = root, rng, 0
        self.commands = [[programs / "goldfleet", "dispatcher"]] + [[programs / "goldfleet-worker"]] * 3
        self.processes = [self.start(command) for command in self.commands]

    def start(self, command):
        return subprocess.Popen(command, cwd=self.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_one(self):
        victim = self.rng.randrange(len(self.processes))
        self.processes[victim].send_signal(signal.SIGKILL)
        self.processes[victim].wait()
        self.processes[victim] = self.start(self.commands[victim])
        self.kills += 1

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/debug")
    given = arguments.parse_args()
    rng = random.Random(given.seed)
    root = pathlib.Path(tempfile.mkdtemp(prefix="machines-killed-"))
    (root / "goldfleet.toml").write_text(CONFIG)
    (root / "targets.toml").touch()
    machine = make_machine(root, rng)
    for place in PLACES:
        folder_of(root, place, "disks").mkdir(parents=True)
    expected = [digest(folder_of(root, HOME, "disks") / f"web-{lun_name(lun)}.disk", size) for lun, size, _, _ in DISKS]
    programs = given.programs.resolve()
    run = lambda *words: subprocess.run([programs / "goldfleet", *words], cwd=root, capture_output=True, text=True)
    run("setup")
    fleet, begun, clones, faults, slowest = Fleet(root, programs, rng), time.monotonic(), 0, [], 0.0
    while fleet.kills < given.kills and not faults and time.monotonic() - begun < 1800:
        name, place = f"copy{clones}", PLACES[clones % 2]
        disks_only, sku = clones % 3 == 2, "StandardSSD_LRS" if clones % 5 == 4 else None
        subnet = f"/subscriptions/{place[0]}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
        words = ["--to", "/".join(place), "--name", name, "--stop", "--yes"]
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
    print(f"seed {given.seed}: {clones} clones of 4 disks, {fleet.kills} kills, {seconds:.0f} s, slowest clone {slowest:.1f} s")
    for fault in faults:
        print(f"FAULT: {fault} (files: {root})")
    if not faults:
        shutil.rmtree(root)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
