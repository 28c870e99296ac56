#!/usr/bin/env python3
"""A sync of many snapshots by real processes that are killed at random. Run before a release; CI does not run it.

20 disks with 10 incremental snapshots each are copied to 3 destinations by a dispatcher and 3 workers. Every 0.2 to 0.8 s
one of them is killed with SIGKILL and started again. At the end each destination must have exactly one complete replica of each
snapshot, with its bytes, and no temporary may be left.

    cargo build -p goldfleet-dispatcher -p goldfleet-worker && python3 tests/snapshots_killed.py [--seed N] [--families N]
"""

import datetime
import hashlib
import json
import random
import sys
import time
import uuid

import killed_fleet

SIZE = 20 << 20
SOURCE = "00000000-0000-0000-0000-000000000001"
DESTINATIONS = [
    (SOURCE, "westeurope", "local"),
    ("00000000-0000-0000-0000-000000000002", "eastus", "replicas"),
    ("00000000-0000-0000-0000-000000000003", "northeurope", "replicas"),
]
SYNC = """[[sync]]
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
    parser = killed_fleet.arguments(__doc__)
    parser.add_argument("--families", type=int, default=20)
    parser.add_argument("--snapshots", type=int, default=10)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    destinations = ", ".join(
        f'{{ subscription = "{subscription}", region = "{region}", resource_group = "{name}" }}'
        for subscription, region, name in DESTINATIONS
    )
    config = killed_fleet.config(SOURCE, "1s", SYNC.format(source=SOURCE, destinations=destinations))
    fleet = killed_fleet.Fleet("snapshots", config, given.programs, rng)
    folder = fleet.folder
    # As on Azure, resource groups exist before a run.
    for subscription, name in [(SOURCE, "scratch"), *((subscription, name) for subscription, _, name in DESTINATIONS)]:
        group(folder, subscription, name).mkdir(parents=True, exist_ok=True)
    for family in range(given.families):
        for number in range(given.snapshots):
            make_snapshot(folder, family, number, rng, True)
        make_snapshot(folder, family, given.snapshots, rng, family % 4 > 0)
    fleet.run("setup")
    job = fleet.run("snapshots", "sync", "killed").stdout.split()[0]
    fleet.start()
    begun = time.monotonic()
    status = {"state": "running"}
    while status["state"] == "running" and time.monotonic() - begun < 600:
        time.sleep(rng.uniform(0.2, 0.8))
        fleet.kill_one()
        status = json.loads(fleet.run("status", job, "--output", "json").stdout)
    fleet.stop()
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
    dry = fleet.run("snapshots", "sync", "killed", "--dry-run", "--output", "json")
    plan = json.loads(dry.stdout)[0]
    if (plan["copies"], plan["complete"]) != (0, len(expected) * len(DESTINATIONS)):
        faults.append(f"the next run would copy {plan['copies']} snapshots, {plan['complete']} are complete")
    seconds = time.monotonic() - begun
    summary = f"seed {given.seed}: {len(expected)} snapshots to {len(DESTINATIONS)} destinations, {fleet.kills} kills, {seconds:.0f} s"
    return fleet.report(summary, faults)


if __name__ == "__main__":
    sys.exit(main())
