"""A bucket as a read-only volume of the driver s3.csi.aws.com (Mountpoint for Amazon S3).

https://github.com/awslabs/mountpoint-s3-csi-driver/blob/main/docs/CONFIGURATION.md
"""

from __future__ import annotations

from provisioner.emit.kubernetes.objects import Object
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Mountpoint
from provisioner.emit.kubernetes.volumes.static import MANY_READ, Binding, pairs, volume_name

DRIVER = "s3.csi.aws.com"
ELSEWHERE = "us-east-1"  # what servers other than AWS call themselves when nobody said otherwise


def objects(settings: Settings, target: Mountpoint, size: str) -> list[Object]:
    """A volume to read and its claim; nobody writes through Mountpoint, which can neither rename nor overwrite.

    The driver ignores the size, the API wants one.
    """
    source = {
        "csi": {
            "driver": DRIVER,
            "volumeHandle": f"{target.bucket}_{volume_name(settings, target.claim)}",
            "volumeAttributes": {"bucketName": target.bucket, "authenticationSource": target.authentication},
        }
    }
    return pairs(settings, [Binding(target.claim, MANY_READ, size, source, _options(settings, target))])


def _options(settings: Settings, target: Mountpoint) -> list[str]:
    """Mountpoint's own flags, as `NAME VALUE`; without allow-other only root would see the files."""
    found = ["read-only", "allow-other"]
    if not settings.openshift:
        found += [f"uid {settings.user}", f"gid {settings.group}"]
    if target.prefix:
        found.append(f"prefix {target.prefix}")
    if target.url:
        found.append(f"endpoint-url {target.url}")
    if region := target.region or (ELSEWHERE if target.url else None):
        found.append(f"region {region}")
    if target.path_style or (target.path_style is None and target.url):
        found.append("force-path-style")
    return found


def notes(target: Mountpoint) -> list[str]:
    """Where the driver has its credentials from: a volume cannot name a secret of its own.

    https://github.com/awslabs/mountpoint-s3-csi-driver/pull/424 was closed.
    """
    if target.authentication == "pod":
        return ["The driver takes the credentials of the pod's service account: EKS Pod Identity or IRSA, no secret."]
    if not target.url:
        return ["The driver takes its own credentials: those of its service account s3-csi-driver-sa, or of the node."]
    return [
        "The driver has one pair of keys for all volumes, from a secret in its namespace that it reads as it starts: "
        "kubectl -n kube-system create secret generic aws-secret "
        '--from-literal=key_id="$ACCESS_KEY" --from-literal=access_key="$SECRET_KEY"'
    ]
