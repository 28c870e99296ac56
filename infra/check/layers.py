#!/usr/bin/env python3
"""Checks the dependencies between the workspace's crates.

Each crate may depend only on the crates that LAYERS lists for it, and every one of those stands above it in the list, so
the graph has no cycle and no upward edge. Every declared dependency must be used. Only tests may enable the conformance
suites.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A crate and the crates of the workspace that its library and its program may use, lowest first.
LAYERS = {
    "model": [],
    "disk": ["model"],
    "inside": ["model", "disk"],
    "file-lock": [],
    "diagnostics": [],
    "rates": ["model", "diagnostics"],
    "plan": ["model", "rates"],
    "ports": ["model"],
    "sources": ["model", "disk", "ports"],
    "workflow": ["model", "ports"],
    "snapshots": ["model"],
    "machines": ["model", "snapshots"],
    "galleries": ["model", "snapshots"],
    "hubs": ["model", "snapshots", "galleries"],
    "azure-settings": ["model"],
    "config": ["model", "diagnostics", "file-lock", "snapshots", "galleries", "azure-settings"],
    "azure": ["model", "ports", "azure-settings"],
    "embedded": ["model", "disk", "file-lock", "ports"],
    "modelled": ["model", "disk", "rates", "ports"],
    "connect": ["model", "rates", "ports", "azure-settings", "config", "azure", "embedded", "modelled"],
    "runtime": ["model", "ports", "config"],
    "kinds": ["model", "disk", "ports", "runtime", "snapshots", "galleries", "machines"],
    "worker": ["model", "ports", "workflow", "config", "connect", "runtime", "kinds"],
    # It runs workers in its own process, for a job on one machine, and rehearses jobs on the modelled cloud.
    "dispatcher": [
        "model", "disk", "inside", "sources", "rates", "plan", "ports", "workflow", "config", "modelled", "connect", "runtime", "snapshots", "machines", "hubs", "galleries", "kinds", "worker",
    ],
}
PREFIX = "goldfleet-"
TESTS = "goldfleet-tests"
faults = []


def sources(folder, normal):
    """The code of a package: all of it, or only what is not a test."""
    folders = [folder / "src"] if normal else [folder / each for each in ("src", "tests", "benches", "examples")]
    paths = [path for each in folders for path in each.rglob("*.rs")] + list(folder.glob("build.rs"))
    return "\n".join(path.read_text() for path in paths)


def check(package):
    name = package["name"].removeprefix(PREFIX)
    folder = Path(package["manifest_path"]).parent
    order = list(LAYERS)
    if package["name"] != TESTS and name not in LAYERS:
        faults.append(f"{name}: LAYERS in infra/check/layers.py does not list it")
        return
    for dependency in package["dependencies"]:
        normal = dependency["kind"] is None
        used = dependency["name"].removeprefix(PREFIX)
        ours = dependency["name"].startswith(PREFIX)
        if ours and package["name"] != TESTS:
            if normal and used not in LAYERS[name]:
                faults.append(f"{name}: may not depend on {used}")
            if order.index(used) >= order.index(name):
                faults.append(f"{name}: {used} is not below it")
            if normal and "conformance" in dependency["features"]:
                faults.append(f"{name}: only tests may use the conformance suites")
        # The crate md-5 is called md5 in code.
        code = "md5" if dependency["name"] == "md-5" else dependency["name"].replace("-", "_")
        if not re.search(rf"\b{code}\b", sources(folder, normal and package["name"] != TESTS)):
            faults.append(f"{name}: does not use {dependency['name']}")


def main():
    for name, below in LAYERS.items():
        order = list(LAYERS)
        faults.extend(f"LAYERS: {name} before {each}" for each in below if order.index(each) >= order.index(name))
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    for package in metadata["packages"]:
        check(package)
    for fault in faults:
        print(fault)
    print(f"{len(metadata['packages'])} crates, {len(faults)} faults")
    sys.exit(bool(faults))


main()
