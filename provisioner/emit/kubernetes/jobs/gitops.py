"""What keeps GitOps controllers from running a finished Job again, or makes them run it."""

from __future__ import annotations

from typing import Literal

Mode = Literal["ignore", "hook", "none"]

# Argo CD neither applies, compares nor prunes what it skips; the other two hold where it tracks by our instance label.
# https://argo-cd.readthedocs.io/en/stable/user-guide/resource_hooks/
# https://fluxcd.io/flux/components/kustomize/kustomizations/#controlling-the-apply-behavior-of-resources
_IGNORE = {
    "argocd.argoproj.io/hook": "Skip",
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "argocd.argoproj.io/sync-options": "Prune=false",
    "kustomize.toolkit.fluxcd.io/ssa": "Ignore",
    "kustomize.toolkit.fluxcd.io/prune": "Disabled",
}
_HOOK = {
    "argocd.argoproj.io/hook": "PreSync",
    "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    "kustomize.toolkit.fluxcd.io/force": "Enabled",
}


def marks(mode: Mode, *, wave: int = 0) -> dict[str, str]:
    """The annotations of an object of the Job; what the Job needs first has an earlier wave."""
    if mode == "ignore":
        return dict(_IGNORE)
    if mode == "hook":
        return _HOOK | ({"argocd.argoproj.io/sync-wave": str(wave)} if wave else {})
    return {}
