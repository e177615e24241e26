"""`provision mirror`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import ADDRESSES, default_store, endpoint_option, not_empty, store_option
from provisioner.cli.transfers import run, transfer_options

if TYPE_CHECKING:
    from provisioner.plan.shards import Shard
    from provisioner.ports.source import Source
    from provisioner.render.output import Output


PATIENCE = 600  # above the Hub's windows of 300 s; over NFS the bytes of others are seen up to a minute late


class ShardNumber(click.ParamType["Shard"]):
    """`I/N`."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """`2/8` as a shard."""
        from provisioner.plan.shards import MOST, Shard

        if isinstance(value, Shard):
            return value
        index, slash, count = str(value).partition("/")
        if not (slash and all(text.isascii() and text.isdigit() and len(text) <= 4 for text in (index, count))):
            self.fail(f"{value!r} is not a shard such as 0/4: its number, counted from 0, of how many.", param, ctx)
        if not int(index) < int(count) <= MOST:
            self.fail(f"{value} is none: the first number is below the second, and that at most {MOST}.", param, ctx)
        return Shard(int(index), int(count))


@click.command("mirror", short_help="Bring the locked models into another store, such as a mounted volume.")
@click.option("--to", metavar="TARGET", required=True, callback=not_empty, help=f"The store to fill: {ADDRESSES}.")
@click.option(
    "--from",
    "origins",
    callback=not_empty,
    metavar="TARGET",
    multiple=True,
    help="Where bytes may come from, in this order: stores, or `hub`.  [default: the local store, then hub]",
)
@click.option(
    "--shard",
    type=ShardNumber(),
    help="Be one of N processes that fill a mounted volume together; number 0 waits for the others and publishes.",
)
@click.option(
    "--shard-patience",
    type=click.IntRange(min=1),
    default=PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="Without a new byte for so long, shard 0 brings what is missing itself.",
)
@store_option
@endpoint_option
@transfer_options
def command(
    to: str,
    origins: tuple[str, ...],
    shard: Shard | None,
    shard_patience: int,
    store: str | None,
    endpoint: str | None,
    lock: str,
    how: dict[str, Any],
    output: Output,
) -> None:
    """Bring the locked models into another store, such as a mounted volume.

    pvc is the volume mounted at PROVISION_PVC_DIR (/mnt/models unless set), nfs the one at PROVISION_NFS_DIR
    (/mnt/nfs). A file missing or damaged in one source is taken from the next. Bytes stream straight into the target,
    whatever both ends are; nothing is staged on this machine's disk.

    \b
    Examples:
      provision mirror --to pvc
      provision mirror --to s3://models/llm --from hub
      provision mirror --to pvc --from minio://minio:9000/models --from hub
      provision mirror --to /srv/nfs/models --from /srv/store --dry-run
      provision mirror --to pvc --mode 0664 --dir-mode 2775
      provision mirror --to pvc --verify recorded
      provision mirror --to pvc --shard 0/4     (and 1/4, 2/4, 3/4 in other pods)
    """
    _require_shardable(to, shard, how)

    def sources() -> list[Source]:
        from provisioner.ops.chain import open_sources

        chain = origins or ((local, "hub") if os.path.isdir(local := store or default_store()) else ("hub",))
        return open_sources(chain, endpoint, output.warn)

    together = shard if shard and shard.count > 1 else None
    run("mirror", lock, to, sources, how | {"shard": together, "shard_patience": shard_patience}, output)


def _require_shardable(to: str, shard: Shard | None, how: dict[str, Any]) -> None:
    from provisioner.errors import UsageError

    if shard and "://" in to and not to.startswith("file://"):
        raise UsageError(
            f"{to} cannot be filled by shards: only a volume that is mounted in all of them.",
            hint="Leave --shard out: one process fills a bucket or share over many connections.",
        )
    if shard and how["repair"]:
        raise UsageError("--repair is for one process.", hint="Leave --shard out.")
