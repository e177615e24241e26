"""How a model wants to be run, by what its own files say: pooling, lengths, prompts, activation."""

from provisioner.serve.recipe.read import read
from provisioner.serve.recipe.task import task
from provisioner.serve.recipe.values import Lengths, Mode, Padding, Recipe

__all__ = ["Lengths", "Mode", "Padding", "Recipe", "read", "task"]
