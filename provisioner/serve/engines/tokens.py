"""Texts to token ids, with the tokenizer of the model's own tokenizer.json.

Truncation and padding are state of a `Tokenizer`, and requests differ in their length, so both are switched off there
and done here, the way `tokenizers` does them; one object then serves all threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from provisioner.errors import InvalidDocument, InvalidInput, Problem
from provisioner.serve.engines.interface import Input, Item
from provisioner.serve.recipe import Lengths, Padding, Recipe
from provisioner.serve.recipe.documents import Documents
from provisioner.serve.recipe.lengths import pad_token
from provisioner.serve.refusals import Invalid

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

NAME = "tokenizer.json"
# Of a text that is cut anyway, so many characters for each token that stays are tokenised. Where they give too few
# tokens (long runs of spaces, one endless word), all of it is.
PER_TOKEN = 32
SPARE = 64  # tokens at the end of such a part, which the cut may have changed
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One text as a graph takes it: its ids, and the segment of each where any is not 0."""

    ids: Ids
    types: Ids | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """How many special tokens stand before, between and after the texts."""

    before: int
    between: int
    after: int

    @property
    def size(self) -> int:
        """All of them."""
        return self.before + self.between + self.after


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokenizer of one model, for any number of threads at once.

    Attributes:
        vocabulary: token ids are below it.
        one, two: what is put around a text, and around a pair.
        segments: whether a text alone has tokens of another segment than 0, as XLNet's have.
    """

    tokenizer: Tokenizer
    lengths: Lengths
    padding: Padding
    vocabulary: int
    one: Frame
    two: Frame
    segments: bool

    def items(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Item]:
        """See Engine.tokenize."""
        most = min(max_length or self.lengths.default, self.lengths.limit)
        encoded = iter(self._encoded([one for one in inputs if _is_text(one)], most))
        return [self._text(next(encoded), most) if _is_text(one) else self._given(one, most) for one in inputs]

    def _encoded(self, texts: list[Any], most: int) -> list[Encoding]:
        """Encodings that are right as far as `most` tokens, without reading all of what is far longer."""
        if not texts:
            return []
        parts = texts if self.lengths.cut_left else [_begin(text, most * PER_TOKEN) for text in texts]
        found: list[Encoding] = self.tokenizer.encode_batch_fast(parts)
        again = [at for at, part in enumerate(parts) if part is not texts[at] and len(found[at].ids) < most + SPARE]
        if again:
            for at, whole in zip(again, self.tokenizer.encode_batch_fast([texts[at] for at in again]), strict=True):
                found[at] = whole
        return found

    def _text(self, encoding: Encoding, most: int) -> Item:
        several = self.segments or encoding.n_sequences > 1
        ids, types = encoding.ids, encoding.type_ids if several else None
        cut = len(ids) > most
        if cut:
            keep = self._kept(encoding, most)
            ids, types = [ids[at] for at in keep], [types[at] for at in keep] if types else None
        if not ids:  # a tokenizer without special tokens, and an empty text
            ids, types = [self.padding.id], None
        row = Row(np.array(ids, np.int64), np.array(types, np.int64) if types else None)
        return Item(len(ids), row, cut)

    def _given(self, ids: Input, most: int) -> Item:
        if not ids:
            raise Invalid("A list of token ids is empty.", param="inputs")
        try:
            array = np.array(ids, np.int64)
        except OverflowError:
            array = np.array([-1])
        if array.min() < 0 or array.max() >= self.vocabulary:
            raise Invalid(f"A token id is not from 0 to {self.vocabulary - 1}, as the model's are.", param="inputs")
        return Item(min(len(array), most), Row(array[:most]), len(array) > most)

    def _kept(self, encoding: Encoding, most: int) -> list[int]:
        """The places of the tokens that stay: all special ones, and of the texts what there is room for."""
        if encoding.n_sequences < 2:
            frame, counts = self.one, [len(encoding.ids) - self.one.size]
            kept = [max(0, most - frame.size)]
        else:
            frame, second = self.two, encoding.sequence_ids.count(1)
            counts = [len(encoding.ids) - self.two.size - second, second]
            kept = list(longest_first(counts[0], counts[1], max(0, most - frame.size)))
        places = list(range(frame.before))
        start = frame.before
        for index, (count, keep) in enumerate(zip(counts, kept, strict=True)):
            first = start + max(0, count - keep) if self.lengths.cut_left else start
            places += range(first, first + min(keep, count))
            start += count
            special = frame.between if index + 1 < len(counts) else frame.after
            places += range(start, start + special)
            start += special
        return places


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each text of a pair stay, as `tokenizers` and sentence-transformers' CrossEncoder have it."""
    if first + second <= room:
        return first, second
    short = min(first, second)
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = room // 2
        long = short + room % 2
    return (short, long) if first <= second else (long, short)


def _begin(text: Any, characters: int) -> Any:
    """The text itself, or so many characters of it; of a pair, of its second where the first is no longer."""
    if isinstance(text, str):
        return text if len(text) <= characters else text[:characters]
    query, document = text
    return text if len(document) <= characters or len(query) > characters else (query, document[:characters])


def _is_text(one: Input) -> bool:
    return isinstance(one, str) or (bool(one) and isinstance(one[0], str))


def tokens(folder: str, files: Iterable[str], recipe: Recipe) -> Tokens:
    """The tokenizer of a model. Raises InvalidInput, InvalidDocument."""
    documents = Documents.of(folder, tuple(files))
    if NAME not in documents:
        raise InvalidInput(
            f"The model has no {NAME}, which every engine but torch needs.", hint="Lock a revision that has it."
        )
    tokenizer = _load(os.path.join(folder, NAME))
    config = documents.section("tokenizer_config.json")
    padding = _padding(tokenizer, recipe.padding, pad_token(documents))
    lengths = recipe.lengths
    if "padding_side" not in config and tokenizer.padding:
        padding = replace(padding, left=tokenizer.padding["direction"] == "left")
    if "truncation_side" not in config and tokenizer.truncation:
        lengths = replace(lengths, cut_left=tokenizer.truncation["direction"] == "left")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if recipe.lower_case:
        _lower(tokenizer)
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    size = min(size, recipe.vocabulary or size)
    one, two = tokenizer.encode("a"), tokenizer.encode("a", "a")
    return Tokens(tokenizer, lengths, padding, size, _frame(one), _frame(two), any(one.type_ids))


def _load(path: str) -> Tokenizer:
    from tokenizers import Tokenizer, __version__

    try:
        return Tokenizer.from_file(path)
    except Exception as error:  # it raises nothing more exact
        problem = Problem("", f"tokenizers {__version__} cannot read it: {str(error)[:300]}")
        raise InvalidDocument(NAME, (problem,), hint="Its publisher may have used a newer version.") from error


def _padding(tokenizer: Tokenizer, said: Padding, token: str | None) -> Padding:
    """The token that the tokenizer pads with comes before the id in config.json, which is the one of the training."""
    identity = tokenizer.token_to_id(token) if token else None
    if identity is None and tokenizer.padding:
        identity = int(tokenizer.padding["pad_id"])
    return said if identity is None else replace(said, id=identity)


def _lower(tokenizer: Tokenizer) -> None:
    from tokenizers.normalizers import Lowercase, Sequence

    present = tokenizer.normalizer
    steps = [present] if present is not None else []
    tokenizer.normalizer = Sequence([Lowercase(), *steps])


def _frame(encoding: Encoding) -> Frame:
    """Where the special tokens are, by an example."""
    of = encoding.sequence_ids
    found = [at for at, text in enumerate(of) if text is not None]
    first, last = (found[0], found[-1]) if found else (len(of), len(of) - 1)
    between = sum(1 for text in of[first : last + 1] if text is None)
    return Frame(first, between, len(of) - 1 - last)
