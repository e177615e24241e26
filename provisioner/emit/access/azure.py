"""Who may do what on an Azure file share: shared access signatures, or roles for identities."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from provisioner.emit.access.policies import READER, WRITER
from provisioner.errors import UsageError

# Read and list; and create, write, delete beside them. A SAS never gives more than it names.
PERMISSIONS = {READER: "rl", WRITER: "rcwdl"}
ROLES = {READER: "Storage File Data Privileged Reader", WRITER: "Storage File Data Privileged Contributor"}
NOTES = (
    "A SAS is for the whole share: it cannot be limited to a folder. Give the releases a share of their own.",
    "The stored access policies make both revocable: `az storage share policy delete` ends a SAS before its time.",
    "Whoever has an account key can make any SAS; give Jobs and consumers the SAS, never the key.",
    "The roles are for the REST API with the backup intent: they pass over file ACLs, and hold for the whole share.",
)


@dataclass(frozen=True, slots=True)
class Share:
    """A file share, and the store's folder in it ("" for the share itself)."""

    account: str
    share: str
    path: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]{3,24}", self.account):
            raise UsageError(f"{self.account!r} is not a storage account.", hint="3 to 24 of a-z and 0-9.")
        if not re.fullmatch(r"[a-z0-9](?:-?[a-z0-9]){2,62}", self.share) or len(self.share) > 63:
            raise UsageError(f"{self.share!r} is not a share.", hint="3 to 63 of a-z, 0-9 and single hyphens.")


def access(share: Share, days: int) -> dict[str, Any]:
    """Permissions, commands and roles of both; `days` is how long each SAS holds."""
    folder = [f"The store is in the folder {share.path} of the share; the permissions are not limited to it."]
    return {
        "account": share.account,
        "share": share.share,
        **{role: _one(share, role, days) for role in PERMISSIONS},
        "notes": [*(folder if share.path else []), *NOTES],
    }


def _one(share: Share, role: str, days: int) -> dict[str, Any]:
    name = f"provision-{role}"
    account = f"--account-name {share.account}"
    policy = (
        f"az storage share policy create {account} --share-name {share.share} --name {name} "
        f'--permissions {PERMISSIONS[role]} --expiry "$(date -u -d "+{days} days" +%Y-%m-%dT%H:%MZ)"'
    )
    sas = f"az storage share generate-sas {account} --name {share.share} --policy-name {name} --https-only --output tsv"
    scope = (
        '"/subscriptions/$SUBSCRIPTION/resourceGroups/$RESOURCE_GROUP/providers/Microsoft.Storage'
        f'/storageAccounts/{share.account}/fileServices/default/fileshares/{share.share}"'
    )
    grant = f'az role assignment create --assignee "$CLIENT_ID" --role {shlex.quote(ROLES[role])} --scope {scope}'
    return {"permissions": PERMISSIONS[role], "days": days, "sas": [policy, sas], "role": ROLES[role], "grant": grant}


def script(found: dict[str, Any]) -> str:
    """The same as text for a person."""
    lines = [f"# {note}" for note in found["notes"]]
    for role in PERMISSIONS:
        one = found[role]
        lines += ["", f"# {role}: SAS permissions {one['permissions']}, for {one['days']} days", *one["sas"]]
        lines += [f"# {role} with an identity instead of a SAS: {one['role']}", one["grant"]]
    return "\n".join(lines)
