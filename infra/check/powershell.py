#!/usr/bin/env python3
"""Checks the syntax of PowerShell scripts."""

import sys
from pathlib import Path

import tree_sitter
import tree_sitter_powershell


def main():
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    faults = 0
    for name in sys.argv[1:]:
        nodes = [parser.parse(Path(name).read_bytes()).root_node]
        while nodes:
            node = nodes.pop()
            if node.type == "ERROR" or node.is_missing:
                print(f"{name}:{node.start_point[0] + 1}: syntax: {node.text.decode()[:40]!r}")
                faults += 1
            nodes.extend(node.children)
    print(f"PowerShell: {len(sys.argv) - 1} files, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
