"""`provision access`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from provisioner.cli.options import Decorator, output_options

if TYPE_CHECKING:
    from provisioner.emit.access.policies import Document, Place
    from provisioner.ops.access import Step
    from provisioner.render.output import Output

bucket_option: Decorator = click.option("--bucket", metavar="B", required=True, help="The bucket.")
prefix_option: Decorator = click.option(
    "--prefix", metavar="P", default="", help="Where the store begins in the bucket.  [default: the whole bucket]"
)
only_option: Decorator = click.option("--only", type=click.Choice(["reader", "writer"]), help="One of the two.")


@click.group("access", short_help="Least-privilege access for readers and the mirror: MinIO, S3, Azure Files.")
def command() -> None:
    """Least-privilege access to a store: one identity that reads releases, one that writes them.

    \b
    Examples:
      provision access minio --bucket models
      provision access minio --bucket models --alias prod --apply
      provision access s3 --bucket models --prefix search --kms-key arn:aws:kms:...
      provision access azurefiles --account acme --share models
    """


@command.command("minio", short_help="MinIO: policies and users, printed or created.")
@bucket_option
@prefix_option
@only_option
@click.option("--endpoint", metavar="URL", help="The server, for --apply.  [default: MINIO_ENDPOINT]")
@click.option("--alias", metavar="NAME", help="An alias of mc: MC_HOST_NAME or mc's config file.")
@click.option("--apply", "apply_", is_flag=True, help="Create what is missing, and print new secret keys once.")
@click.option("--rotate", is_flag=True, help="With --apply: new secret keys for users that are there.")
@output_options
def minio(
    bucket: str,
    prefix: str,
    only: str | None,
    endpoint: str | None,
    alias: str | None,
    apply_: bool,
    rotate: bool,
    output: Output,
) -> None:
    """A policy and a user that reads releases, and a policy and a user for the mirror Job.

    Without --apply nothing is asked and nothing is changed: the policies and the mc commands are printed. With it both
    are created with the keys in MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or those of an alias; they go to no other server
    than theirs. A second run changes nothing. The secret keys go to stdout, once, and nowhere else:

    \b
      provision access minio --bucket models --apply --only reader |
        kubectl create secret generic models-reader --from-env-file=/dev/stdin
    """
    from provisioner.emit.access.policies import Place
    from provisioner.emit.access.scripts import minio_commands, script
    from provisioner.errors import UsageError

    if rotate and not apply_:
        raise UsageError("--rotate needs --apply.")
    place = Place.of(bucket, prefix)
    documents = _documents(place, only)
    if apply_:
        return _apply(place, documents, endpoint, alias, rotate, output)
    commands = minio_commands(place, alias or "ALIAS", documents)
    notes = ["`mc admin user add` asks for the secret key; `openssl rand -hex 20` makes one."]
    return output.result(_data(place, documents, commands), lambda: script(place, documents, commands, notes))


def _documents(place: Place, only: str | None, partition: str = "aws", key: str | None = None) -> dict[str, Document]:
    from provisioner.emit.access.policies import READER, WRITER, reader, writer

    both = {READER: reader(place, partition, key), WRITER: writer(place, partition, key)}
    return {role: document for role, document in both.items() if only in (None, role)}


def _data(place: Place, documents: dict[str, Document], commands: list[str]) -> dict[str, object]:
    roles = {role: {"name": place.name(role), "policy": document} for role, document in documents.items()}
    return {"bucket": place.bucket, "prefix": place.prefix, **roles, "commands": commands}


def _apply(
    place: Place,
    documents: dict[str, Document],
    endpoint: str | None,
    alias: str | None,
    rotate: bool,
    output: Output,
) -> None:
    from provisioner.emit.access.scripts import secret_env
    from provisioner.ops.access import apply
    from provisioner.stores.minio_admin import MinioServer
    from provisioner.stores.objects.minio_login import locate_by

    admin = locate_by(endpoint, alias)
    steps: list[Step] = []
    try:
        for step in apply(MinioServer(admin), place, documents, rotate):
            steps.append(step)
            _tell(step, output)
            if step.secret_key and not output.as_json:
                output.text(secret_env(step.role, admin.url, step.name, step.secret_key))
    finally:  # whatever fails later: a secret key that was made must be shown
        if output.as_json and steps:
            output.result(_applied(admin.url, steps), str)


def _tell(step: Step, output: Output) -> None:
    if not output.as_json:
        output.note(f"{step.role}: {step.what} {step.name} {step.change}")
    if step.others:
        output.note(f"{step.role}: the user {step.name} has other policies too: {', '.join(step.others)}")


def _applied(endpoint: str, steps: list[Step]) -> dict[str, object]:
    result: dict[str, dict[str, object]] = {}
    for step in steps:
        role = result.setdefault(step.role, {"name": step.name})
        role[step.what] = step.change
        if step.secret_key:
            role |= {"access_key": step.name, "secret_key": step.secret_key}
    return {"endpoint": endpoint, "changed": any(step.change != "unchanged" for step in steps), **result}


@command.command("s3", short_help="S3: IAM policies, printed.")
@bucket_option
@prefix_option
@only_option
@click.option("--kms-key", metavar="ARN", help="The key of a bucket with SSE-KMS.")
@click.option(
    "--partition",
    type=click.Choice(["aws", "aws-cn", "aws-us-gov"]),
    default="aws",
    show_default=True,
    help="Which of Amazon's clouds.",
)
@click.option("--tls-only", is_flag=True, help="Also a bucket policy that refuses plain HTTP.")
@output_options
def s3(
    bucket: str, prefix: str, only: str | None, kms_key: str | None, partition: str, tls_only: bool, output: Output
) -> None:
    """Two IAM policies to attach to the roles of consumers and of the mirror Job (IRSA, pod identity, web identity).

    Nothing is asked and nothing is changed.
    """
    from provisioner.emit.access import policies
    from provisioner.emit.access.scripts import s3_commands, script

    place = policies.Place.of(bucket, prefix)
    key = policies.check_key(kms_key, partition) if kms_key else None
    documents = _documents(place, only, partition, key)
    commands = s3_commands(place, documents, tls_only)
    notes = ["Attach each to the role that the service account assumes: aws iam attach-role-policy."]
    if tls_only:
        documents["bucket-policy"] = policies.tls_only(place, partition)
        notes.append("put-bucket-policy replaces the bucket's whole policy: merge the statement where there is one.")
    if key:
        notes.append("The key's own policy must allow these roles too, or delegate to IAM.")
    output.result(_data(place, documents, commands), lambda: script(place, documents, commands, notes))


@command.command("azurefiles", short_help="Azure Files: SAS permissions and roles, printed.")
@click.option("--account", metavar="A", required=True, help="The storage account.")
@click.option("--share", metavar="S", required=True, help="The file share.")
@click.option("--path", metavar="P", default="", help="The store's folder in the share.")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="How long each SAS holds.")
@output_options
def azurefiles(account: str, share: str, path: str, days: int, output: Output) -> None:
    """What a SAS for readers and one for the mirror Job must allow, and the roles for identities instead.

    Nothing is asked, nothing is changed and nothing printed is secret. Keep --days short for the writer.
    """
    from provisioner.emit.access.azure import Share, access, script

    found = access(Share(account, share, path.strip("/")), days)
    output.result(found, lambda: script(found))
