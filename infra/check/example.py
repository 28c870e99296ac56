#!/usr/bin/env python3
"""Checks that the example's targets.json is what 'goldfleet targets list --output json' makes of its targets.toml."""

import json
import sys
import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "bicep" / "example"


def main():
    targets = tomllib.loads((FOLDER / "targets.toml").read_text())["target"]
    defaults = {"ring": 0, "enabled": True}
    wanted = [defaults | target for target in targets]
    good = wanted == json.loads((FOLDER / "targets.json").read_text())
    print("example: " + (f"{len(wanted)} targets" if good else "targets.json is not made of targets.toml"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
