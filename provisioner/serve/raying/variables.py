"""The variables of a replica: its node's environment, and before that what the application was given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

AT = "PROVISION_SERVE_AT"


def merged(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Those of this process with the application's arguments over them."""
    return dict(os.environ) | {name: str(value) for name, value in arguments.items()}
