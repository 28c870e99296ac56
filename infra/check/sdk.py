"""The bodies of resources as Microsoft's Python SDKs have them, for what types.json has not: read from their source, so
that nothing of them is run. An SDK speaks one version of an API, mostly a newer one than the Bicep files name: a property
that is in neither is found, one that came later is not."""

import ast
from pathlib import Path

RESOURCES = {  # type: package, class
    "Microsoft.App/containerApps": ("appcontainers", "ContainerApp"),
    "Microsoft.App/managedEnvironments": ("appcontainers", "ManagedEnvironment"),
    "Microsoft.ContainerRegistry/registries": ("containerregistry", "Registry"),
    "Microsoft.OperationalInsights/workspaces": ("loganalytics", "Workspace"),
    "Microsoft.Storage/storageAccounts/blobServices": ("storage", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("storage", "BlobContainer"),
    "Microsoft.Storage/storageAccounts/queueServices": ("storage", "QueueServiceProperties"),
    "Microsoft.Storage/storageAccounts/queueServices/queues": ("storage", "StorageQueue"),
    "Microsoft.Storage/storageAccounts/tableServices": ("storage", "TableServiceProperties"),
    "Microsoft.Storage/storageAccounts/tableServices/tables": ("storage", "Table"),
}
REQUIRED, READ_ONLY = 1, 2
PLAIN = {"str": "StringType", "int": "IntegerType", "bool": "BooleanType"}


class Package:
    """The models of one SDK, in the form of types.json: a list of types that point at each other by index."""

    def __init__(self, folder):
        def classes(file):
            tree = ast.parse((folder / "models" / file).read_text())
            return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

        self.classes = classes("_models.py")
        self.enums = classes("_enums.py")
        self.types = []
        self.known = {}

    def add(self, described):
        self.types.append(described)
        return len(self.types) - 1

    def model(self, name):
        if name in self.known:
            return self.known[name]
        if name in self.enums:
            values = [
                node.value.value
                for node in self.enums[name].body
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            ]
            literals = [self.add({"$type": "StringLiteralType", "value": value}) for value in values]
            self.known[name] = self.add({"$type": "UnionType", "elements": literals})
            return self.known[name]
        # Known before its properties are looked at, as some models hold themselves.
        described = {"$type": "ObjectType", "name": name, "properties": {}}
        self.known[name] = self.add(described)
        for base in self.classes[name].bases:
            if isinstance(base, ast.Name) and base.id in self.classes:
                described["properties"] |= self.types[self.model(base.id)]["properties"]
        for node in self.classes[name].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
                self.add_property(described["properties"], node)
        return self.known[name]

    def add_property(self, properties, node):
        said = {keyword.arg: keyword.value for keyword in node.value.keywords}
        name = said["name"].value if "name" in said else node.target.id
        visible = [element.value for element in said["visibility"].elts] if "visibility" in said else []
        annotation, flags = node.annotation, REQUIRED
        if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Optional":
            annotation, flags = annotation.slice, 0
        if visible == ["read"]:
            flags = READ_ONLY
        properties[name] = {"type": self.annotated(annotation), "flags": flags}

    def annotated(self, node):
        """The type that an annotation means."""
        if isinstance(node, ast.Constant):
            return self.model(str(node.value).rpartition(".")[2])
        if isinstance(node, ast.Name) and node.id in PLAIN:
            return self.add({"$type": PLAIN[node.id]})
        if isinstance(node, ast.Subscript):
            match ast.unparse(node.value):
                case "list":
                    return self.add({"$type": "ArrayType", "itemType": self.annotated(node.slice)})
                case "dict":
                    values = self.annotated(node.slice.elts[1])
                    described = {"$type": "ObjectType", "name": "map", "properties": {}}
                    return self.add(described | {"additionalProperties": values})
                case "Union":
                    named = [element for element in node.slice.elts if isinstance(element, ast.Constant)]
                    if len(named) == 1:
                        return self.annotated(named[0])
        return self.add({"$type": "AnyType"})


def bodies(packages):
    """type -> (types, body), from the site-packages folder that the SDKs were installed into."""
    found, read = {}, {}
    for name, (package, model) in RESOURCES.items():
        if package not in read:
            read[package] = Package(Path(packages, "azure", "mgmt", package))
        types = read[package].types
        found[name.lower()] = (types, types[read[package].model(model)])
    return found
