"""`provision emit server`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.emit.out import out_options
from provisioner.cli.kubernetes import Flag, facts_option, settings_flags
from provisioner.cli.options import Decorator

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.servers.settings import OnyxSettings, QwiserSettings, RaySettings
    from provisioner.emit.kubernetes.settings import Settings

to_option: Decorator = click.option(
    "--to",
    metavar="NAME",
    default="pvc",
    show_default=True,
    help="The target whose claims are mounted: a [targets.NAME], or pvc.",
)

wait_option: Decorator = click.option(
    "--wait",
    metavar="SECONDS",
    type=click.IntRange(0, 86400),
    help="An init container that waits for the release and checks it. It runs kubernetes.image.",
)


_MODELS: dict[str, Flag] = {
    "embedder": ("serve.embedder", "NAME", "Of ours.  [default: the only model that is no reranker]"),
    "reranker": ("serve.reranker", "NAME", "Of ours.  [default: the only model with rerank in its name, or none]"),
}


def _which(table: str, image: str = "serve.image") -> dict[str, Flag]:
    """Flags that put our server into the place of theirs."""
    return {
        "server": (f"{table}.server", "theirs|provision", "Whose it is; provision is ours.  [default: theirs]"),
        "serve_image": (image, "IMAGE", "Of ours.  [default: what `make image` calls it]"),
    }


def _one_image(program: OnyxSettings | QwiserSettings | RaySettings) -> None:
    """An image that nothing would run is a mistake."""
    if program.server != "theirs" and click.get_current_context().params.get("image"):
        raise click.UsageError("--image names the image of theirs: leave it out, or give --serve-image.")


def _note_image(program: OnyxSettings | QwiserSettings | RaySettings, image: str, plain: str) -> None:
    """A cluster takes a name without a registry for one of Docker Hub."""
    if program.server != "theirs" and image == plain:
        click.echo(f"Image {image} is what `make image` makes here: push it and give --serve-image.", err=True)


@click.group("server", short_help="The model servers of a deployment: onyx, qwiser, kserve, ray, compose.")
def command() -> None:
    """The model servers of a known deployment, each around the release that the lock describes.

    All mount it read-only, are offline, run without root on a read-only root file system and pass restricted Pod
    Security. Every key of their tables in provision.toml can be given with --set. With --server provision the
    deployment runs our model server, `provision serve`, in the place of theirs, as [kubernetes.serve] says.

    \b
    Examples:
      provision emit server onyx | kubectl apply -f -
      provision emit server qwiser --to azure --image registry.example/qwiser-embeddings:1.4 --gpus 1 -o deploy/qwiser
      provision emit server kserve --gpus 2 --set 'kserve.args=["--max-model-len=8192"]'
      provision emit server ray --image registry.example/rag8s-onnx:gte-modernbert
      provision emit server compose --store /srv/models -o deploy/onyx
    """


@command.command("onyx", short_help="Onyx: inference and indexing model servers.")
@to_option
@wait_option
@settings_flags(image=("onyx.image", "IMAGE", "Of theirs.  [default: Onyx's own]"), **_which("onyx"), **_MODELS)
@facts_option
@out_options
def onyx(to: str, wait: int | None, settings: Settings, facts: Facts, write: Callable[..., None]) -> None:
    """Onyx's inference and indexing model servers: Services, Deployments, and hosts and ports for the API server.

    With a target of kind rwo the inference server mounts its first claim and the indexing server the second.

    \b
    Examples:
      provision emit server onyx | kubectl apply -f -
      provision emit server onyx --to rwo -o deploy/onyx && kubectl apply -k deploy/onyx
      provision emit server onyx --set onyx.inference.replicas=3
      provision emit server onyx --wait 3600 | kubectl apply -f -
      provision emit server onyx --server provision --serve-image registry.example/model-provisioner-server:0.1.0
    """
    from provisioner.emit.kubernetes.servers.onyx import objects
    from provisioner.emit.kubernetes.servers.serve_settings import ServeSettings

    _one_image(settings.onyx)
    write(objects(settings, settings.target(to), facts, wait=wait))
    _note_image(settings.onyx, settings.serve.image, ServeSettings().image)


@command.command("qwiser", short_help="QWiser: embeddings workers.")
@to_option
@wait_option
@settings_flags(
    image=("qwiser.image", "IMAGE", "Of theirs.  [required for them]"),
    gpus=("qwiser.gpus", "N", "GPUs of NVIDIA for each pod.  [default: 0]"),
    **_which("qwiser"),
    embedder=_MODELS["embedder"],
)
@facts_option
@out_options
def qwiser(to: str, wait: int | None, settings: Settings, facts: Facts, write: Callable[..., None]) -> None:
    """QWiser's embeddings workers, with the release at /mnt/models.

    \b
    Examples:
      provision emit server qwiser --to azure --image registry.example/qwiser-embeddings:1.4 --gpus 1
      provision emit server qwiser --to azure --server provision -o deploy/qwiser
      provision emit server qwiser --set 'qwiser.workers=["embeddings-worker-msgs", "embeddings-worker-docs"]' ...
    """
    from provisioner.emit.kubernetes.servers.qwiser import objects
    from provisioner.emit.kubernetes.servers.serve_settings import ServeSettings

    _one_image(settings.qwiser)
    write(objects(settings, settings.target(to), facts, wait=wait))
    _note_image(settings.qwiser, settings.serve.image, ServeSettings().image)


@command.command("kserve", short_help="KServe: a language model under vLLM.")
@to_option
@settings_flags(
    model=("kserve.model", "NAME", "The model of the lock.  [default: the only one in the layout flat]"),
    service=("kserve.name", "NAME", "Of the InferenceService.  [default: from the model's name]"),
    gpus=("kserve.gpus", "N", "GPUs of NVIDIA for each replica.  [default: 1]"),
    image=("kserve.image", "IMAGE", "Of vLLM, for a ServingRuntime.  [default: a runtime of the cluster]"),
)
@facts_option
@out_options
def kserve(to: str, settings: Settings, facts: Facts, write: Callable[..., None]) -> None:
    """A language model under vLLM as an InferenceService that reads pvc://CLAIM/releases/ID/models/NAME.

    Nothing is downloaded and nothing copied: KServe mounts that folder of the claim, read-only.

    \b
    Examples:
      provision emit server kserve --gpus 2 | kubectl apply -f -
      provision emit server kserve --model Mistral-Small-24B-Instruct-2501 --service mistral-24b
      provision emit server kserve --image vllm/vllm-openai:v0.10.2 -o deploy/mistral
    """
    from provisioner.emit.kubernetes.servers.kserve import objects

    write(objects(settings, settings.target(to), facts))


@command.command("ray", short_help="RAG8s: embedder and reranker on KubeRay.")
@to_option
@settings_flags(
    image=("ray.image", "IMAGE", "Of theirs, for head and workers.  [required for them]"),
    embedder=("ray.embedder", "NAME", "The model of the lock.  [default: the only one that is no reranker]"),
    reranker=("ray.reranker", "NAME", "The model of the lock.  [default: the only one with rerank in its name]"),
    hf_token=("ray.hf_token", "SECRET/KEY", "Where HF_TOKEN comes from.  [default: none; the models are there]"),
    **_which("ray", "serve.ray_image"),
)
@facts_option
@out_options
def ray(to: str, settings: Settings, facts: Facts, write: Callable[..., None]) -> None:
    """RAG8s' embedder and reranker as a RayService, with its account, disruption budget and metrics.

    \b
    Examples:
      provision emit server ray --image registry.example/rag8s-onnx:gte-modernbert | kubectl apply -f -
      provision emit server ray --server provision --serve-image registry.example/model-provisioner-ray:0.1.0
      provision emit server ray --image ... --set ray.workers=3 --set ray.max_workers=3 --set ray.monitor=false
    """
    from provisioner.emit.kubernetes.servers.ray import objects
    from provisioner.emit.kubernetes.servers.serve_settings import ServeSettings

    _one_image(settings.ray)
    write(objects(settings, settings.target(to), facts))
    _note_image(settings.ray, settings.serve.ray_image, ServeSettings().ray_image)


@command.command("compose", short_help="Docker Compose: both Onyx servers from a store on this host.")
@settings_flags(
    store=("compose.store", "DIR", "The store's folder on the host.  [default: /srv/models]"),
    image=("onyx.image", "IMAGE", "Of theirs.  [default: Onyx's own]"),
    **_which("onyx"),
    **_MODELS,
)
@facts_option
@click.option("-o", "--output", "out", metavar="DIR", help="Write compose.yaml and api-server.env there.")
@click.option("--json", "as_json", is_flag=True, help="JSON, which Compose takes too.")
def compose(settings: Settings, facts: Facts, out: str | None, as_json: bool) -> None:
    """Both Onyx servers without Kubernetes, from a store on the host that `provision fetch` or `mirror` filled.

    \b
    Examples:
      provision mirror --to /srv/models && provision emit server compose -o deploy/onyx
      docker compose -f deploy/onyx/compose.yaml up -d
      provision emit server compose --set compose.network=onyx_default
      provision emit server compose --server provision -o deploy/onyx
    """
    from provisioner.emit.kubernetes.servers.compose import document, hosts

    _one_image(settings.onyx)
    result = document(settings, facts)
    if out is None:
        click.echo(_text(result, as_json), nl=False)
        return
    if as_json:
        raise click.UsageError("-o writes YAML: leave --json out.")
    _write_files(out, result, hosts(settings))


def _text(document: dict[str, Any], as_json: bool) -> str:
    if as_json:
        import json

        return json.dumps(document, indent=1) + "\n"
    from provisioner.emit.yaml import text

    return text(document)


def _write_files(out: str, document: dict[str, Any], hosts: dict[str, str]) -> None:
    import os

    from provisioner.emit.environment import Form, write
    from provisioner.emit.kubernetes.servers.compose import API_SERVER, FILE
    from provisioner.ops.folders import write_folder

    write_folder(
        out,
        {FILE: _text(document, as_json=False), API_SERVER: write(hosts, Form.DOTENV) + "\n"},
        click.get_current_context().command_path,
    )
    click.echo(f"Wrote {FILE} and {API_SERVER} to {out}.", err=True)
    click.echo(f"  docker compose -f {os.path.join(os.path.normpath(out), FILE)} up -d", err=True)
