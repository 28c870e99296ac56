#!/usr/bin/env python3
"""That bicep.py finds what it is there for: each case spoils a copy of the files in one place."""

import shutil
import sys
import tempfile
from pathlib import Path

import bicep

HERE = Path(__file__).resolve().parent
CASES = [  # file, what stands there, what is put in its place, what is said of it
    ("main.bicep", "sourceContainer: sourceContainer\n    targetsFile", "sourceContainer: sourceContainr\n    targetsFile", "sourceContainr is not declared"),
    ("main.bicep", "    maxWorkers: maxWorkers\n", "", "programs.bicep needs the parameter maxWorkers"),
    ("main.bicep", "    maxWorkers: maxWorkers\n", "    maxWorkers: maxWorkers\n    most: 1\n", "programs.bicep has no parameter most"),
    ("main.bicep", "fleet.outputs.client\n", "fleet.outputs.clientId\n", "identity.bicep has no output clientId"),
    ("main.bicep", "scope: subscription(split(place, '/')[0])", "scope: fleetGroup", "image-group.bicep is for a subscription"),
    ("example/main.bicepparam", "param sourceAccount = 'goldsource'\n", "", "main.bicep needs the parameter sourceAccount"),
    ("storage-account.bicep", "    minimumTlsVersion: 'TLS1_2'\n", "", "must have minimumTlsVersion"),
    ("storage-account.bicep", "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "must have allowSharedKeyAccess"),
    ("storage-account.bicep", "bypass: 'AzureServices'", "bypas: 'AzureServices'", "has no bypas"),
    ("storage-account.bicep", "  kind: 'StorageV2'\n", "", "needs kind"),
    ("storage-account.bicep", "accessTier: 'Hot'", "accessTier: 'Warm'", "'Warm' is none of"),
    ("group-right.bicep", "principalId: fleet", "principal: fleet", "needs principalId"),
    ("registry.bicep", "7f951dda-4ed3-4680-a7ca-43fe172d538d", "b24988ac-6180-42a0-ab88-20f7382dd24c", "the role Contributor"),
    ("logs.bicep", "output id string = workspace.id", "output id string = workspace.listKeys().primarySharedKey", "keys are not used"),
    ("logs.bicep", "param location string\n", "param location string\nparam more string\n", "parameter more is not used"),
    ("program.bicep", "queueLength: queue.length", "queueLenght: queue.length", "QueueScaleRule has no queueLenght"),
    ("program.bicep", "type: 'Liveness'", "type: 'Lively'", "'Lively' is none of"),
    ("program.bicep", "cooldownPeriod: cooldown", "cooldown: cooldown", "Scale has no cooldown"),
    ("program.bicep", "{ secretRef: file.secret,", "{ secret: file.secret,", "SecretVolumeItem has no secret"),
    ("registry.bicep", "adminUserEnabled: false", "adminUserEnabled: 'no'", "'no' is text"),
    ("storage-account.bicep", "publicAccess: 'None'", "publicAccess: 'Non'", "'Non' is none of"),
    ("program.bicep", "  properties: {\n", "  properties: {{\n", "syntax"),
]


def main():
    failed = 0
    types = bicep.Types(None)
    for file, old, new, said in CASES:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "bicep")
            shutil.copytree(HERE.parent / "bicep", copy)
            before = (copy / file).read_text()
            (copy / file).write_text(before.replace(old, new, 1))
            found = bicep.check(copy, types)[1]
            if old not in before or not any(said in fault for fault in found):
                print(f"{file}: {new!r} in place of {old!r} was not found out: {found}")
                failed += 1
    print(f"bicep.py: {len(CASES) - failed} of {len(CASES)} spoilt files found out")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
