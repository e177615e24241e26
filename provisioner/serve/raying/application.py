"""The graph of deployments, from variables and a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray import serve

from provisioner.report import Evidence
from provisioner.serve import start
from provisioner.serve.raying import api, scaling
from provisioner.serve.raying.replica import Replica
from provisioner.serve.raying.variables import AT, merged
from provisioner.serve.settings import EMBED, RERANK, parse

NAMES = {EMBED: "Embedder", RERANK: "Reranker"}


def build(arguments: Mapping[str, Any]) -> serve.Application:
    """The application for the release that is mounted here. Reads its record and lock; loads nothing.

    Every replica gets this release's own folder, so that an update of the store between two starts of replicas does not
    mix two releases behind one address.
    """
    variables = merged(arguments)
    settings = parse(variables)
    sizes = scaling.parse(variables, settings)
    start.name_misspelt(variables, scaling.known())
    # Each replica checks as VERIFY says; here it is only read what there is.
    plan = start.plan(replace(settings, evidence=Evidence.RECORDED))
    given = {name: str(value) for name, value in arguments.items()} | {AT: plan.mounted.folder}
    by_task = {EMBED: sizes.embedder, RERANK: sizes.reranker}
    models = {
        NAMES[candidate.task]: serve.deployment(
            Replica, **scaling.options(NAMES[candidate.task], by_task[candidate.task], settings)
        ).bind(candidate.task, given, plan.mounted.checked.release)
        for candidate, _ in plan.chosen
    }
    front = api.deployment({candidate.task: NAMES[candidate.task] for candidate, _ in plan.chosen}, given)
    return front.options(**scaling.options("Api", sizes.api, settings)).bind(**models)
