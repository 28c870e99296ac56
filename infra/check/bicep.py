#!/usr/bin/env python3
"""Checks the Bicep files as far as that goes without Microsoft's compiler, which cannot be had from a package registry.

What is checked: syntax; names that are used are declared, and the other way round; modules get the parameters they
declare, at the scope they are written for; bodies of resources have the properties, and literals the values, that Azure
publishes (types.json: three types of Azure/bicep-types-az, MIT; sdk.py: what Microsoft's SDKs have of others; with --types
FOLDER, all of a checkout of bicep-types-az); and what this project promises of its accounts and roles.
What is not: types of expressions, and limits of the services.
"""

import argparse
import json
import re
import sys
import sysconfig
from pathlib import Path

import tree_sitter
import tree_sitter_bicep

import sdk

HERE = Path(__file__).resolve().parent
PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
FUNCTIONS = set(
    "array concat contains deployment empty environment filter first guid json length loadJsonContent loadTextContent map "
    "readEnvironmentVariable replace resourceGroup skip split subscription subscriptionResourceId take toLower union uniqueString "
    "allowed batchSize description maxLength maxValue minLength minValue".split()
)
TOP = {"name", "scope", "parent", "dependsOn"}  # what a resource may have whatever its type
SCOPES = {"subscription": "subscription", "resourceGroup": "resourceGroup"}
FORBIDDEN = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "17d1049b-9a84-46fb-8f53-869881c3d3ab": "Storage Account Contributor",
}
ACCOUNT = {
    "allowBlobPublicAccess": "false",
    "allowSharedKeyAccess": "false",
    "allowCrossTenantReplication": "false",
    "supportsHttpsTrafficOnly": "true",
    "minimumTlsVersion": "'TLS1_2'",
}

faults: list[str] = []
unchecked: set[str] = set()


def text(node):
    return node.text.decode()


def literal(node):
    """The value of a string without interpolation, else None."""
    if node.type != "string" or any(child.type == "interpolation" for child in node.children):
        return None
    return "".join(text(child) for child in node.children if child.type == "string_content")


def named(node):
    return [child for child in node.children if child.is_named and child.type != "comment"]


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)


def members(node):
    """The properties of an object: name -> (property, value)."""
    found = {}
    for child in node.children:
        if child.type == "object_property":
            parts = named(child)
            key = text(parts[0]) if parts[0].type == "identifier" else literal(parts[0])
            if key is not None:
                found[key] = (child, parts[-1])
    return found


class File:
    """A Bicep file and what it declares."""

    def __init__(self, path):
        self.path = path
        source = path.read_text()
        self.parameters_file = path.suffix == ".bicepparam"
        if self.parameters_file:  # the grammar has no such files; a value there reads as a variable does
            source = re.sub(r"^param (\w+) =", r"var   \1 =", source, flags=re.M)
        self.tree = PARSER.parse(source.encode()).root_node
        self.scope, self.using = "resourceGroup", None
        self.declared, self.outputs, self.values = {}, set(), {}
        decorated = []
        for node in self.tree.children:
            if node.type == "decorators":
                decorated = [text(child) for child in node.children]
                continue
            self.declare(node, decorated)
            decorated = []
        for node in walk(self.tree):
            if node.type == "ERROR" or node.is_missing:
                self.fault(node, f"syntax: {text(node)[:40]!r}")

    def declare(self, node, decorators):
        parts = named(node)
        kind = node.type.removesuffix("_declaration")
        if node.type == "target_scope_assignment":
            self.scope = literal(parts[-1])
        elif node.type == "using_statement":
            self.using = literal(parts[0])
        elif kind == "output":
            self.outputs.add(text(parts[0]))
        elif kind in ("parameter", "variable", "resource", "module", "type"):
            name = text(parts[0])
            if name in self.declared:
                self.fault(node, f"{name} is declared twice")
            self.declared[name] = {
                "kind": kind,
                "node": node,
                "required": kind == "parameter"
                and not any(child.type == "=" for child in node.children)
                and not text(node).rstrip().endswith("?"),
                "existing": any(child.type == "existing" for child in node.children),
                "of": literal(parts[1]) if kind in ("resource", "module") else None,
            }
            if self.parameters_file:
                self.values[name] = parts[-1]

    def fault(self, node, message):
        faults.append(f"{self.path.parent.name}/{self.path.name}:{node.start_point[0] + 1}: {message}")


def body(node):
    """The object in a resource or module, be it in a loop or under a condition; None where it is none."""
    for child in reversed(named(node)):
        if child.type == "object":
            return child
        if child.type in ("for_statement", "if_statement"):
            return body(child)
    return None


def check_names(file):
    used = set()
    for top in file.tree.children:
        local = set()
        for node in walk(top):
            if node.type in ("loop_variable", "loop_enumerator"):
                local.add(text(node))
            elif node.type == "for_statement" and (first := named(node)[0]).type == "identifier":
                local.add(text(first))
            elif node.type == "lambda_expression":
                local |= {text(child) for child in walk(named(node)[0]) if child.type == "identifier"}
        for node in walk(top):
            parent = node.parent
            if node.type != "identifier" or parent is None:
                continue
            first = named(parent)[0] == node
            if first and (parent.type == "object_property" or parent.type.endswith("_declaration")):
                continue
            name = text(node)
            if first and parent.type == "call_expression":
                if name not in FUNCTIONS:
                    file.fault(node, f"{name} is no function that is used here so far: add it to FUNCTIONS if it exists")
            elif name in file.declared:
                used.add(name)
            elif name not in local:
                file.fault(node, f"{name} is not declared")
    if file.parameters_file:
        return
    for name, what in file.declared.items():
        quiet = what["kind"] in ("module", "resource") and not what["existing"]
        if name not in used and not quiet:
            file.fault(what["node"], f"{what['kind']} {name} is not used")


def check_given(file, node, callee, given):
    """That a module, or the file of parameters, gives what is declared."""
    parameters = {name: what for name, what in callee.declared.items() if what["kind"] == "parameter"}
    for name in given.keys() - parameters.keys():
        file.fault(node, f"{callee.path.name} has no parameter {name}")
    for name, what in parameters.items():
        if what["required"] and name not in given:
            file.fault(node, f"{callee.path.name} needs the parameter {name}")


def check_modules(file, files):
    modules = {}
    for name, what in file.declared.items():
        if what["kind"] != "module":
            continue
        callee = files.get((file.path.parent / what["of"]).resolve())
        if callee is None:
            file.fault(what["node"], f"there is no {what['of']}")
            continue
        modules[name] = callee
        callee.called = True
        properties = members(body(what["node"]))
        given = members(properties["params"][1]) if "params" in properties else {}
        check_given(file, what["node"], callee, given)
        scope = file.scope
        if "scope" in properties:
            value = properties["scope"][1]
            if value.type == "call_expression":
                scope = SCOPES.get(text(named(value)[0]), "unknown")
            else:  # a resource group that is declared here
                scope = "resourceGroup"
        if scope != callee.scope:
            file.fault(what["node"], f"{what['of']} is for a {callee.scope}, but deployed to a {scope}")
    for node in walk(file.tree):
        match = re.fullmatch(r"(\w+)(?:\[[^]]*\])?\.outputs\.(\w+)", text(node)) if node.type == "member_expression" else None
        if match and match[1] in modules and match[2] not in modules[match[1]].outputs:
            file.fault(node, f"{modules[match[1]].path.name} has no output {match[2]}")


class Types:
    """The bodies of resources, as Azure publishes them."""

    def __init__(self, folder):
        self.bodies = {}  # lower-case type@version -> (types, body)
        self.of_sdks = {}  # the same by type alone
        if folder is None:
            self.of_sdks = sdk.bodies(sysconfig.get_path("purelib"))
            for name, entry in json.loads((HERE / "types.json").read_text())["types"].items():
                types = {int(index): value for index, value in entry["types"].items()}
                self.bodies[name.lower()] = (types, types[entry["root"]])
        else:
            for path in Path(folder).rglob("types.json"):
                types = json.loads(path.read_text())
                for entry in types:
                    if entry["$type"] == "ResourceType":
                        self.bodies[entry["name"].lower()] = (types, self.follow(types, entry["body"]))

    def find(self, name):
        name = name.lower()
        return self.bodies.get(name) or self.of_sdks.get(name.partition("@")[0])

    @staticmethod
    def follow(types, reference):
        if isinstance(reference, dict):
            file, _, index = reference["$ref"].partition("#/")
            return types[int(index)] if not file else {"$type": "AnyType"}
        return types[reference]

    def check(self, file, node, types, wanted, top=False):
        kind = wanted["$type"]
        if node.type == "parenthesized_expression":
            return self.check(file, named(node)[0], types, wanted)
        if node.type == "ternary_expression":
            for branch in named(node)[1:]:
                self.check(file, branch, types, wanted)
            return None
        if node.type == "object" and kind == "ObjectType":
            return self.check_object(file, node, types, wanted, top)
        if node.type == "object" and kind == "DiscriminatedObjectType":
            return self.check_object(file, node, types, wanted | {"properties": self.variant(file, node, types, wanted)}, top)
        if kind == "ArrayType":
            item = self.follow(types, wanted["itemType"])
            if node.type == "array":
                for child in named(node):
                    self.check(file, child, types, item)
            elif node.type == "for_statement":
                self.check(file, named(node)[-1], types, item)
            elif node.type == "call_expression" and text(named(node)[0]) == "map":
                self.check(file, named(named(named(node)[1])[-1])[-1], types, item)
            elif node.type in ("object", "string", "number", "boolean"):
                file.fault(node, "an array is wanted")
            return None
        choices = self.choices(types, wanted)
        value = literal(node)
        if value is not None and choices is not None and value not in choices:
            file.fault(node, f"{value!r} is none of {', '.join(sorted(choices))}")
        if node.type in ("object", "array") and kind in ("StringType", "IntegerType", "BooleanType"):
            file.fault(node, f"a value is wanted, of {kind}")
        if value is not None and kind in ("IntegerType", "BooleanType"):
            file.fault(node, f"{value!r} is text, wanted is {kind}")
        if node.type in ("number", "boolean") and kind in ("StringType", "StringLiteralType"):
            file.fault(node, f"{text(node)} is no text")
        return None

    def choices(self, types, wanted):
        """The texts that are allowed; None where any is."""
        if wanted["$type"] == "StringLiteralType":
            return {wanted["value"]}
        if wanted["$type"] != "UnionType":
            return None
        elements = [self.follow(types, element) for element in wanted["elements"]]
        # A union with plain text in it is one that Azure may extend: a misspelling is still likelier than news.
        return {element["value"] for element in elements if element["$type"] == "StringLiteralType"} or None

    def variant(self, file, node, types, wanted):
        value = literal(members(node).get(wanted["discriminator"], (None, node))[1])
        variant = wanted["elements"].get(value)
        if variant is None:
            file.fault(node, f"{wanted['discriminator']} is none of {', '.join(wanted['elements'])}")
            return wanted["baseProperties"]
        return wanted["baseProperties"] | self.follow(types, variant)["properties"]

    def check_object(self, file, node, types, wanted, top):
        properties, given = wanted["properties"], members(node)
        for name, (at, value) in given.items():
            known = properties.get(name)
            if top and name in TOP:
                continue
            if known is None:
                if "additionalProperties" in wanted and wanted["additionalProperties"] is not None:
                    self.check(file, value, types, self.follow(types, wanted["additionalProperties"]))
                else:
                    file.fault(at, f"{wanted['name']} has no {name}")
            elif known.get("flags", 0) & 2:
                file.fault(at, f"{name} can only be read")
            else:
                self.check(file, value, types, self.follow(types, known["type"]))
        for name, known in properties.items():
            if known.get("flags", 0) & 1 and not known["flags"] & 2 and name not in given:
                file.fault(node, f"{wanted['name']} needs {name}")


def check_resources(file, types):
    for what in file.declared.values():
        if what["kind"] != "resource":
            continue
        found = types.find(what["of"])
        if found is None:
            unchecked.add(what["of"])
        elif not what["existing"]:
            types.check(file, body(what["node"]), *found, top=True)


def check_promises(file):
    for identifier, name in FORBIDDEN.items():
        if identifier in text(file.tree):
            file.fault(file.tree, f"the role {name} is more than goldfleet needs")
    code = re.sub(r"//.*", "", text(file.tree))
    if re.search(r"\blist[A-Z]\w*\(", code):
        file.fault(file.tree, "keys are not used")
    for what in file.declared.values():
        if what["kind"] == "resource" and what["of"].startswith("Microsoft.Storage/storageAccounts@") and not what["existing"]:
            given = members(members(body(what["node"]))["properties"][1])
            for name, wanted in ACCOUNT.items():
                if name not in given or text(given[name][1]) != wanted:
                    file.fault(what["node"], f"a storage account must have {name}: {wanted}")


def check(folder, types):
    """Checks all files of a folder: how many there are, and what is wrong with them."""
    faults.clear()
    paths = sorted(path.resolve() for path in folder.rglob("*.bicep*") if path.suffix in (".bicep", ".bicepparam"))
    files = {path: File(path) for path in paths}
    for file in files.values():
        check_names(file)
        if file.parameters_file:
            callee = files[(file.path.parent / file.using).resolve()]
            callee.called = True
            check_given(file, file.tree, callee, file.values)
            continue
        check_modules(file, files)
        check_resources(file, types)
        check_promises(file)
    for file in files.values():
        if not file.parameters_file and not getattr(file, "called", False):
            file.fault(file.tree, "no file uses this one")
    return len(files), list(faults)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--types", metavar="FOLDER", help="a checkout of Azure/bicep-types-az")
    arguments.add_argument("folder", nargs="?", default=HERE.parent / "bicep", type=Path)
    given = arguments.parse_args()
    files, found = check(given.folder, Types(given.types))
    for fault in found:
        print(fault)
    if unchecked:
        print("bodies not checked: " + ", ".join(sorted(unchecked)))
    print(f"Bicep: {files} files, {len(found)} faults")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
