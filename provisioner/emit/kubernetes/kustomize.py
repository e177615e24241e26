"""Objects as a folder that `kubectl apply -k` takes."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.emit.kubernetes.objects import Object
from provisioner.emit.yaml import dump

INDEX = "kustomization.yaml"


def base(objects: Sequence[Object]) -> dict[str, str]:
    """File name -> text: one file for each object, and the kustomization that lists them in order."""
    files = {file_name(one): dump([one]) for one in objects}
    index = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(files),
    }
    return files | {INDEX: dump([index])}


def file_name(one: Object) -> str:
    """`job-models-mirror-7f3c9a1b2d4e.yaml`: kind and name are unique among what is emitted at once."""
    return f"{one['kind'].lower()}-{one['metadata']['name']}.yaml"
