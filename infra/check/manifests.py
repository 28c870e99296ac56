#!/usr/bin/env python3
"""Checks the Kubernetes manifests: against the schemas of an old and a new Kubernetes, KEDA's resources against keda.json,
that what they name is there, and that containers are as confined as this project promises.

What is not checked: that a cluster takes them, and what kustomize makes of them.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDER = HERE.parent / "kubernetes"
VERSIONS = ["1.30", "1.37"]
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

faults = []


def fault(where, message):
    faults.append(f"kubernetes/{where}: {message}")


def load():
    """The resources, each with its file, and the kustomization."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    listed = set(kustomization["resources"])
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    for name in listed ^ there:
        fault("kustomization.yaml", f"{name} is " + ("not there" if name in listed else "not listed"))
    resources = [
        (name, resource) for name in sorted(there) for resource in yaml.safe_load_all((FOLDER / name).read_text())
    ]
    for generator in kustomization["configMapGenerator"]:
        for file in generator["files"]:
            tomllib.loads((FOLDER / file).read_text())
        resources.append(
            ("kustomization.yaml", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}})
        )
    return resources, kustomization


def check_schemas(resources):
    keda = json.loads((HERE / "keda.json").read_text())
    for file, resource in resources:
        kind = resource["kind"]
        if resource["apiVersion"].startswith("keda.sh/"):
            validator = jsonschema.Draft202012Validator(keda[kind])
            for error in validator.iter_errors(resource):
                fault(file, f"{kind}: {error.json_path}: {error.message}")
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                fault(file, f"{kind}, Kubernetes {version}: {error.message}")


def queues():
    """The queues' names, from where the programs have them."""
    source = (ROOT / "shared/model/src/message.rs").read_text()
    return set(re.findall(r'Self::\w+ => "(\w+)"', source))


def check_names(resources, kustomization):
    there = {(resource["kind"], resource["metadata"]["name"]) for _, resource in resources}
    pods = [r["spec"]["template"]["metadata"]["labels"] for _, r in resources if r["kind"] == "Deployment"]
    settings = next(r["data"] for _, r in resources if (r["kind"], r["metadata"]["name"]) == ("ConfigMap", "goldfleet"))
    images = {image["name"] for image in kustomization["images"]}

    def needs(file, kind, name):
        if (kind, name) not in there:
            fault(file, f"there is no {kind} {name}")

    def selects(file, labels):
        if not any(labels.items() <= pod.items() for pod in pods):
            fault(file, f"no pod has the labels {labels}")

    for file, resource in resources:
        spec = resource.get("spec", {})
        match resource["kind"]:
            case "Deployment":
                selects(file, spec["selector"]["matchLabels"])
                pod = spec["template"]["spec"]
                needs(file, "ServiceAccount", pod["serviceAccountName"])
                for volume in pod.get("volumes", []):
                    needs(file, "ConfigMap", volume["configMap"]["name"])
                for container in pod["containers"]:
                    if container["image"] not in images:
                        fault(file, f"kustomization.yaml sets no image {container['image']}")
                    for source in container["envFrom"]:
                        needs(file, "ConfigMap", source["configMapRef"]["name"])
            case "PodDisruptionBudget":
                selects(file, spec["selector"]["matchLabels"])
            case "NetworkPolicy":
                selects(file, spec["podSelector"]["matchLabels"])
            case "ScaledObject":
                needs(file, "Deployment", spec["scaleTargetRef"]["name"])
                for trigger in spec["triggers"]:
                    needs(file, "TriggerAuthentication", trigger["authenticationRef"]["name"])
                    prefix, _, queue = trigger["metadata"]["queueName"].partition("-")
                    if prefix != settings["GOLDFLEET_COORDINATION__PREFIX"] or queue not in queues():
                        fault(file, f"goldfleet has no queue {trigger['metadata']['queueName']}")
                    if trigger["metadata"]["accountName"] != settings["GOLDFLEET_SOURCE__ACCOUNT"]:
                        fault(file, "the queues are in the source account")


def check_confinement(resources):
    for file, resource in resources:
        if resource["kind"] != "Deployment":
            continue
        pod = resource["spec"]["template"]["spec"]
        context = pod["securityContext"]
        if not context.get("runAsNonRoot") or context.get("runAsUser", 0) == 0:
            fault(file, "it must not run as root")
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            fault(file, "seccomp must be RuntimeDefault")
        if pod.get("automountServiceAccountToken") is not False:
            fault(file, "the cluster's token must not be mounted")
        for container in pod["containers"]:
            if container.get("securityContext") != CONFINED:
                fault(file, f"{container['name']} must have the security context {CONFINED}")
            for probe in ("livenessProbe", "readinessProbe"):
                if probe not in container:
                    fault(file, f"{container['name']} needs a {probe}")
            if "limits" not in container["resources"]:
                fault(file, f"{container['name']} needs limits")


def check_settings():
    """That every GOLDFLEET_SECTION__KEY in infra/ is a key that the programs have, and that queues and tables are theirs."""
    settings = [ROOT / "shared/config/src", ROOT / "shared/adapters/azure-settings/src"]
    sources = "\n".join(path.read_text() for folder in settings for path in folder.glob("*.rs"))
    keys = set(re.findall(r"^    pub (\w+):", sources, re.M)) | {"backend"}
    for path in [*FOLDER.glob("*.yaml"), *(HERE.parent / "bicep").glob("*.bicep")]:
        for section, key in re.findall(r"GOLDFLEET_([A-Z]+)__([A-Z_]+)", path.read_text()):
            if key != "KEY" and (section.lower() not in keys or key.lower() not in keys):
                faults.append(f"{path.relative_to(HERE.parent)}: there is no GOLDFLEET_{section}__{key} in the configuration")


    source = (HERE.parent / "bicep/source.bicep").read_text()
    tables = (ROOT / "shared/adapters/azure/src/job_table/mod.rs").read_text()
    for name, wanted in ("queueNames", queues()), ("tableNames", set(re.findall(r'"\{prefix\}(\w+)"', tables))):
        made = re.search(rf"var {name} = \[(.*)\]", source)
        if set(re.findall(r"'(\w+)'", made[1])) != wanted:
            faults.append(f"bicep/source.bicep: {name} are not {sorted(wanted)}")


def main():
    resources, kustomization = load()
    check_schemas(resources)
    check_names(resources, kustomization)
    check_confinement(resources)
    check_settings()
    for line in faults:
        print(line)
    print(f"Kubernetes: {len(resources)} resources, versions {' and '.join(VERSIONS)}, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
