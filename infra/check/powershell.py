#!/usr/bin/env python3
"""Checks PowerShell scripts: their syntax, that each is an advanced function with help for every parameter, and that a script
has the options of the shell script of the same name."""

import re
import sys
from pathlib import Path

import tree_sitter
import tree_sitter_powershell


def descendants(node):
    nodes = [node]
    while nodes:
        node = nodes.pop()
        yield node
        nodes.extend(reversed(node.children))


def parameters(root):
    """The names of the script's parameters, in lower case and in order."""
    for node in descendants(root):
        if node.type == "script_parameter":
            name = next(child for child in reversed(node.children) if child.type == "variable")
            yield name.text.decode().removeprefix("$").lower()


def options(shell):
    """The options that the help of a shell script lists, without dashes; the file is no option."""
    return set(re.findall(r"^  (?:-h, )?--([a-z-]+)", shell, re.MULTILINE)) - {"help"}


def faults(path):
    source = path.read_bytes()
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    root = parser.parse(source).root_node
    for node in descendants(root):
        if node.type == "ERROR" or node.is_missing:
            yield f"{node.start_point[0] + 1}: syntax: {node.text.decode()[:40]!r}"
    text = source.decode()
    names = list(parameters(root))
    if not re.search(r"^\[CmdletBinding\(.*SupportsShouldProcess", text, re.MULTILINE) or not names:
        yield "1: not an advanced function with SupportsShouldProcess and parameters"
    if "$PSCmdlet.ShouldProcess(" not in text:
        yield "1: -WhatIf has no effect: ShouldProcess is not called"
    helped = [name.lower() for name in re.findall(r"^\.PARAMETER (\w+)$", text, re.MULTILINE)]
    if helped != names:
        yield f"1: help for {helped}, but the parameters are {names}"
    for keyword in ("SYNOPSIS", "DESCRIPTION", "EXAMPLE"):
        if not re.search(rf"^\.{keyword}$", text, re.MULTILINE):
            yield f"1: the help has no .{keyword}"
    shell = path.with_suffix(".sh")
    if shell.exists():
        wanted = options(shell.read_text())
        if wanted != set(names) - {"path"}:
            yield f"1: its options {sorted(set(names) - {'path'})} are not those of {shell.name}, {sorted(wanted)}"
        passed = set(re.findall(r"'--([a-z-]+)'", text)) - {"wait"}
        if passed != wanted:
            yield f"1: it passes {sorted(passed)} to goldfleet, not {sorted(wanted)}"


def main():
    found = [f"{name}:{fault}" for name in sys.argv[1:] for fault in faults(Path(name))]
    for fault in found:
        print(fault)
    print(f"PowerShell: {len(sys.argv) - 1} files, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
