#!/usr/bin/env python3
"""A sync of many snapshots by real processes that are killed at random. Run before a release; CI does not run it.

20 disks with 10 incremental snapshots each are copied to 3 destinations by a dispatcher and 3 workers. Every 0.2 to 0.8 s
one of them is killed with SIGKILL and started again. At the end each destination must have exactly one complete replica of each
snapshot, with its bytes, and no temporary may be left.

    cargo build -p goldfleet-dispatcher -p goldfleet-worker && python3 tests/snapshots_killed.py [--seed N] [--families N]
"""

import argparse
import datetime
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
SIZE = 20 << 20
SOURCE = "00000000-0000-0000-0000-000000000001"
DESTINATIONS = [
    (SOURCE, "westeurope", "local"),
    ("00000000-0000-0000-0000-000000000002", "eastus", "replicas"),
    ("00000000-0000-0000-0000-000000000003", "northeurope", "replicas"),
]
CONFIG = """
[coordination]
backend = "embedded"
path = "goldfleet.db"
[cloud]
backend = "directory"
root = "cloud"
[source]
subscription = "{source}"
region = "westeurope"
account = "goldsource"
container = "golden"
[targets]
file = "targets.toml"
[worker]
lease = "3s"
[dispatch]
sweep = "1s"
[[sync]]
name = "killed"
from = {{ subscription = "{source}", resource_group = "snaps" }}
tags = {{ SnapReplicate = "Replicate" }}
to = [{destinations}]
scratch = {{ subscription = "{source}", resource_group = "scratch" }}
"""


def group(folder, subscription, name):
    return folder / "cloud/subscriptions" / subscription / "resourceGroups" / name / "snapshots"


def make_snapshot(folder, family, number, rng, incremental):
    """Writes a snapshot as the directory cloud stores it."""
    name = f"s{family}-{number}"
    files = group(folder, SOURCE, "snaps")
    files.mkdir(parents=True, exist_ok=True)
    with open(files / f"{name}.disk", "wb") as content:
        content.truncate(SIZE)
        for _ in range(3):
            content.seek(rng.randrange(SIZE >> 12) << 12)
            content.write(rng.randbytes(4096))
    created = datetime.datetime(2026, 11, 1) + datetime.timedelta(hours=number)
    disk = f"/subscriptions/{SOURCE}/resourceGroups/snaps/providers/Microsoft.Compute/disks/d{family}"
    of = lambda kind: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}{family}"))
    properties = {
        "creationData": {"createOption": "Copy", "sourceResourceId": disk, "sourceUniqueId": of("disk")},
        "incremental": incremental,
        "uniqueId": str(uuid.UUID(int=rng.getrandbits(128))),
        "diskSizeBytes": SIZE,
        "diskSizeGB": 1,
        "timeCreated": created.isoformat() + "Z",
        "provisioningState": "Succeeded",
        "osType": "Linux",
    }
    if incremental:
        properties |= {"incrementalSnapshotFamilyId": of("family"), "completionPercent": 100.0}
    body = {"location": "westeurope", "tags": {"SnapReplicate": "Replicate"}, "properties": properties}
    (files / f"{name}.json").write_text(json.dumps(body))


def digests(folder, place):
    subscription, _, name = place
    files = sorted(group(folder, subscription, name).glob("*.disk"))
    return {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--families", type=int, default=20)
    arguments.add_argument("--snapshots", type=int, default=10)
    arguments.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/debug")
    given = arguments.parse_args()
    rng = random.Random(given.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="snapshots-killed-"))
    destinations = ", ".join(
        f'{{ subscription = "{subscription}", region = "{region}", resource_group = "{name}" }}'
        for subscription, region, name in DESTINATIONS
    )
    (folder / "goldfleet.toml").write_text(CONFIG.format(source=SOURCE, destinations=destinations))
    (folder / "targets.toml").touch()
    # As on Azure, resource groups exist before a run.
    for subscription, name in [(SOURCE, "scratch"), *((subscription, name) for subscription, _, name in DESTINATIONS)]:
        group(folder, subscription, name).mkdir(parents=True, exist_ok=True)
    for family in range(given.families):
        for number in range(given.snapshots):
            make_snapshot(folder, family, number, rng, True)
        make_snapshot(folder, family, given.snapshots, rng, family % 4 > 0)
    run = lambda *words: subprocess.run([given.programs / "goldfleet", *words], cwd=folder, capture_output=True, text=True)
    start = lambda *words: subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    commands = [[given.programs / "goldfleet", "dispatcher"]] + [[given.programs / "goldfleet-worker"]] * 3
    run("setup")
    job = run("snapshots", "sync", "killed").stdout.split()[0]
    processes = [start(*command) for command in commands]
    begun, kills = time.monotonic(), 0
    status = {"state": "running"}
    while status["state"] == "running" and time.monotonic() - begun < 600:
        time.sleep(rng.uniform(0.2, 0.8))
        victim = rng.randrange(len(processes))
        processes[victim].send_signal(signal.SIGKILL)
        processes[victim].wait()
        processes[victim] = start(*commands[victim])
        kills += 1
        status = json.loads(run("status", job, "--output", "json").stdout)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait()
    faults = []
    if status["state"] != "succeeded":
        faults.append(f"the job is {status['state']}: {status.get('failures')} {status.get('findings')}")
    expected = digests(folder, (SOURCE, "", "snaps"))
    for place in DESTINATIONS:
        found = digests(folder, place)
        if found != expected:
            differing = sorted(name for name in expected | found if expected.get(name) != found.get(name))
            faults.append(f"{'/'.join(place)}: {len(differing)} of {len(expected)} differ, such as {differing[:3]}")
    left = [file for kind in ("snapshots", "disks") for file in (group(folder, SOURCE, "scratch").parent / kind).glob("*.json")]
    if left:
        faults.append(f"{len(left)} temporaries are left")
    dry = run("snapshots", "sync", "killed", "--dry-run", "--output", "json")
    plan = json.loads(dry.stdout)[0]
    if (plan["copies"], plan["complete"]) != (0, len(expected) * len(DESTINATIONS)):
        faults.append(f"the next run would copy {plan['copies']} snapshots, {plan['complete']} are complete")
    seconds = time.monotonic() - begun
    print(f"seed {given.seed}: {len(expected)} snapshots to {len(DESTINATIONS)} destinations, {kills} kills, {seconds:.0f} s")
    for fault in faults:
        print(f"FAULT: {fault} (files: {folder})")
    if not faults:
        shutil.rmtree(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
