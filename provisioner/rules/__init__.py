"""What a repository's files say: which to take, what is unsafe, what is missing. Pure functions."""

from provisioner.rules.choose import Choice, choose
from provisioner.rules.documents import Code, code_of, is_document
from provisioner.rules.policy import left_without_code, policy_problems
from provisioner.rules.structure import structure_problems

__all__ = [
    "Choice",
    "Code",
    "choose",
    "code_of",
    "is_document",
    "left_without_code",
    "policy_problems",
    "structure_problems",
]
