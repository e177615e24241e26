"""`[kubernetes.serve]`: our own model server in the place of a deployment's."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from provisioner import __version__
from provisioner.emit.kubernetes.names import Image, Port

OURS = "provision"

Which = Literal["theirs", "provision"]

Repo = Annotated[str, Meta(min_length=1, max_length=200)]
Version = Annotated[str, Meta(max_length=32, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*\Z")]


class ServeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.serve]`: our model server, wherever `server` of a deployment is "provision".

    Attributes:
        image: what the target `server` of jobs/Dockerfile builds.
        ray_image: with Ray: what its target `ray` builds.
        ray_version: of Ray in that image.
        embedder, reranker: ORG/NAME or NAME of the lock; told apart by their names where it is None.
        engine: what computes; auto takes the fastest that is there and right. torch is not in our images.
        verify: what is checked at the start: recorded compares sizes, full reads every byte.
        grpc_port: of gRPC beside HTTP; none where it is None.
        startup: seconds until it is ready; computed from the lock's size where it is None.
        drain: seconds for requests at work to end, beside the 3 after SIGTERM in which new ones are still taken.
    """

    image: Image = Image(f"model-provisioner-server:{__version__}")
    ray_image: Image = Image(f"model-provisioner-ray:{__version__}")
    ray_version: Version = "2.60.0"
    embedder: Repo | None = None
    reranker: Repo | None = None
    engine: Literal["auto", "onnx", "openvino", "fastembed", "torch", "cuda"] = "auto"
    verify: Literal["recorded", "full"] = "recorded"
    grpc_port: Port | None = None
    startup: Annotated[int, Meta(ge=1, le=86400)] | None = None
    drain: Annotated[int, Meta(ge=0, le=3600)] = 25
