"""What is asked of a model, checked and made into its inputs. Pure; every API and every backend goes through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from provisioner.serve.backend import EmbedAsk, RerankAsk, Served
from provisioner.serve.engines.interface import About, Floats, Input, Item
from provisioner.serve.engines.pooling import normalized
from provisioner.serve.refusals import Invalid, NotServed, TooLarge
from provisioner.serve.settings import Limits

NOUNS = {"embed": "embedder", "rerank": "reranker"}
_LEAST = 2  # tokens: the special ones of most models


def resolve(served: Served, model: str | None) -> None:
    """Raises NotServed if a request names another model: its repository, the end of that, and its aliases are it."""
    if not model:
        return
    names = {served.repo, served.repo.rpartition("/")[2], *served.aliases}
    if model.casefold() not in {name.casefold() for name in names}:
        raise NotServed(f"That model is not served; the {NOUNS[served.task]} here is {served.repo}.", param="model")


def embed_inputs(ask: EmbedAsk, about: About, limits: Limits) -> list[Input]:
    """The engine's inputs, prompts before the texts. Raises Invalid."""
    _counted(len(ask.inputs), limits, "inputs", "input")
    for index, one in enumerate(ask.inputs):
        _sized(len(one), limits, "inputs", f"Input {index}")
        if isinstance(one, tuple) and not one:
            raise Invalid(f"Input {index} has no tokens.", param="inputs")
    if ask.max_length is not None and ask.max_length < _LEAST:
        raise Invalid(f"The maximum length has to be at least {_LEAST} tokens.", param="max_length")
    if ask.dimensions is not None and not 1 <= ask.dimensions <= about.dimensions:
        raise Invalid(f"The model's vectors have from 1 to {about.dimensions} dimensions.", param="dimensions")
    prompt = _prompt(ask, about, limits)
    if not prompt:
        return list(ask.inputs)
    return [prompt + one if isinstance(one, str) else one for one in ask.inputs]


def rerank_inputs(ask: RerankAsk, limits: Limits) -> list[Input]:
    """The engine's inputs: the query with each document. Raises Invalid or TooLarge."""
    _counted(len(ask.documents), limits, "documents", "document")
    _sized(len(ask.query), limits, "query", "The query")
    for index, document in enumerate(ask.documents):
        _sized(len(document), limits, "documents", f"Document {index}")
    # The query is tokenised once for each document, so a small body could be made into a lot of work.
    if len(ask.query) * len(ask.documents) > limits.body:
        raise TooLarge("The query is too long for so many documents.", param="query")
    return [(ask.query, document) for document in ask.documents]


def any_length(items: Sequence[Item]) -> None:
    """Lets texts through that were cut."""


def not_cut(param: str) -> Callable[[Sequence[Item]], None]:
    """A check that raises TooLarge for texts that were cut."""

    def check(items: Sequence[Item]) -> None:
        for index, item in enumerate(items):
            if item.cut:
                raise TooLarge(f"Number {index} of {param} has more than {item.length} tokens.", param=param)

    return check


def shape(vectors: Floats, about: About, normalize: bool | None, dimensions: int | None) -> Floats:
    """Vectors cut to `dimensions` and of the length 1, as asked. What the model's own modules normalise stays so,
    whatever `normalize` says, as with sentence-transformers."""
    unit = about.normalized or normalize is True
    if dimensions is not None and dimensions < vectors.shape[1]:
        vectors = vectors[:, :dimensions]
    elif about.normalized:
        return vectors
    return normalized(vectors) if unit else vectors


def _prompt(ask: EmbedAsk, about: About, limits: Limits) -> str:
    """What is put before each text."""
    prompts = dict(about.prompts)
    if ask.prompt is not None:
        prompt = ask.prompt
    elif ask.prompt_name is None:
        prompt = prompts.get(about.default_prompt or "", "")
    elif not ask.prompt_name:
        prompt = ""
    elif ask.prompt_name in prompts:
        prompt = prompts[ask.prompt_name]
    else:
        names = ", ".join(prompts) or "none"
        raise Invalid(f"The model has no such prompt; it has {names}.", param="prompt_name")
    _sized(len(prompt), limits, "prompt", "The prompt")
    if (ask.prompt or ask.prompt_name) and not all(isinstance(one, str) for one in ask.inputs):
        raise Invalid("A prompt cannot be put before token ids.", param="prompt")
    if len(prompt) * len(ask.inputs) > limits.body:
        raise TooLarge("The prompt is too long for so many texts.", param="prompt")
    return prompt


def _counted(count: int, limits: Limits, param: str, noun: str) -> None:
    most = min(limits.texts, limits.queue)  # more than the queue takes could never be let in
    if not count:
        raise Invalid(f"There has to be at least one {noun}.", param=param)
    if count > most:
        raise Invalid(f"There are {count} {param}; the most that a request may have is {most}.", param=param)


def _sized(characters: int, limits: Limits, param: str, what: str) -> None:
    if characters > limits.characters:
        raise Invalid(f"{what} is longer than {limits.characters} characters.", param=param)
