"""Which files of a repository a model needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from provisioner.errors import InvalidInput
from provisioner.model import RelPath
from provisioner.rules.formats import Format, external_data, folder, format_of, graph_of, is_onnx, shard_of


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision about every file of a repository.

    Attributes:
        files: what is taken, ordered by path.
        left_out: what is not, each with the reason.
        unmatched: globs of `include` that match nothing.
    """

    files: tuple[RelPath, ...]
    left_out: tuple[tuple[RelPath, str], ...]
    unmatched: tuple[str, ...] = ()


_CLUTTER = (
    (re.compile(r"(?:.*/)?\.(?:gitattributes|gitignore|gitmodules|DS_Store)"), "housekeeping"),
    (
        re.compile(r"(?i).*\.(?:png|jpe?g|gif|webp|svg|bmp|tiff?|ico|mp4|mov|webm|avi|mkv|mp3|wav|flac|pdf)"),
        "a picture, sound or document for people",
    ),
    (
        re.compile(
            r"(?:.*/)?(?:optimizer|scheduler|scaler)\.(?:pt|bin)|(?:.*/)?rng_state[^/]*\.pth"
            r"|(?:.*/)?train(?:ing_args\.bin|er_state\.json)|(?:.*/)?[^/]*\.tfevents[^/]*"
            r"|(?:.*/)?(?:runs|wandb|logs|checkpoint-\d+|global_step\d+)/.*"
        ),
        "left over from training",
    ),
)
_NAMED = re.compile(
    r"(?P<stem>[^./]+?)(?:-\d{5}-of-\d{5})?(?:\.(?P<variant>\w+?))?(?:-\d{5}-of-\d{5})?"
    r"\.(?P<ending>safetensors|bin)(?:\.index(?:\.(?P<index_variant>\w+))?\.json)?"
)
_ONNX_VARIANT = re.compile(
    r"(?P<stem>.+?)_(?:fp16|bf16|u?int8|q4|q4f16|q8|bnb4|quantized|optimized|O[1-4]|qu?int8_.+)\.onnx"
)


def choose(
    paths: Iterable[RelPath],
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    *,
    code: bool = False,
) -> Choice:
    """The files that globs name, or the default choice where there is no `include`.

    Globs are those of huggingface_hub: `*` crosses `/`, and a `/` at the end means the whole folder. ONNX
    graphs bring their external data. `code` says that an `auto_map` asks for the repository's own Python.
    Raises InvalidInput when several GGUF models are there and nothing says which is meant.
    """
    everything = tuple(sorted(paths))
    reasons = {path: f"excluded by {glob!r}" for path in everything if (glob := _first(path, exclude))}
    if include:
        named = _named(everything, include)
        reasons |= {path: "no include matches it" for path in everything if path not in named}
    else:
        _default(everything, reasons, code)
    return Choice(
        tuple(path for path in everything if path not in reasons),
        tuple((path, reasons[path]) for path in everything if path in reasons),
        tuple(glob for glob in include if not any(_matches(path, glob) for path in everything)),
    )


def matches_any(path: str, globs: tuple[str, ...]) -> bool:
    """Whether one of the globs names the path."""
    return _first(path, globs) is not None


def _first(path: str, globs: tuple[str, ...]) -> str | None:
    return next((glob for glob in globs if _matches(path, glob)), None)


def _matches(path: str, glob: str) -> bool:
    return fnmatchcase(path, glob + "*" if glob.endswith("/") else glob)


def _named(everything: tuple[RelPath, ...], include: tuple[str, ...]) -> set[str]:
    named: set[str] = {path for path in everything if matches_any(path, include)}
    return named | {data for path in named if is_onnx(path) for data in external_data(path, everything)}


def _default(everything: tuple[RelPath, ...], reasons: dict[RelPath, str], code: bool) -> None:
    """Add a reason for everything that is left out; what has one already counts as absent."""

    def left() -> list[RelPath]:
        return [path for path in everything if path not in reasons]

    for path in left():
        if reason := _clutter(path, code):
            reasons[path] = reason
    for rule in (_other_formats, _second_copies, _onnx_variants):
        reasons |= rule(left())
    _one_gguf(left())


def _clutter(path: str, code: bool) -> str:
    if path.endswith(".py") and not code:
        return "Python that no auto_map asks for"
    return next((reason for pattern, reason in _CLUTTER if pattern.fullmatch(path)), "")


def _other_formats(paths: list[RelPath]) -> dict[RelPath, str]:
    names = frozenset(map(str, paths))
    formats = {path: found for path in paths if (found := format_of(path, names))}
    best = next((found for found in Format if found in formats.values()), None)
    return {
        path: f"{found} weights; the {best} ones are taken"
        for path, found in formats.items()
        if found is not best and not _is_component(path, found, formats, names)
    }


def _is_component(path: str, found: Format, formats: dict[RelPath, Format], names: frozenset[str]) -> bool:
    """PyTorch weights of a part that exists in no safer form, such as `2_Dense/pytorch_model.bin`."""
    here = folder(path)
    own = (f"{here}/" if here else "") + "config.json"
    safe = any(format_ is Format.SAFETENSORS and folder(other) == here for other, format_ in formats.items())
    return found is Format.TORCH and own in names and not safe


def _second_copies(paths: list[RelPath]) -> dict[RelPath, str]:
    """Another precision (`model.fp16.safetensors`) or packing (`consolidated`) of the weights."""
    named = {path: match for path in paths if (match := _NAMED.fullmatch(path.rpartition("/")[2]))}
    plain = {(folder(path), m["stem"], m["ending"]) for path, m in named.items() if not _variant(m)}
    found = {}
    for path, match in named.items():
        here = folder(path)
        if (variant := _variant(match)) and (here, match["stem"], match["ending"]) in plain:
            found[path] = f"the variant {variant} of weights that are taken"
        if match["stem"].startswith("consolidated") and (here, "model", match["ending"]) in plain:
            found[path] = "a second copy of the weights"
        if here == "original" and ("", "model", "safetensors") in plain:
            found[path] = "a second copy of the weights"
    return found


def _variant(match: re.Match[str]) -> str | None:
    return match["variant"] or match["index_variant"]


def _onnx_variants(paths: list[RelPath]) -> dict[RelPath, str]:
    def of(path: RelPath) -> str | None:
        match = _ONNX_VARIANT.fullmatch(graph_of(path) or path)
        plain = f"{match['stem']}.onnx" if match else ""
        return plain if plain in paths else None

    return {path: f"a variant of {plain}" for path in paths if (plain := of(path))}


def _one_gguf(paths: list[RelPath]) -> None:
    gguf = [path for path in paths if path.lower().endswith(".gguf")]
    if len({(shard_of(path) or (path,))[0] for path in gguf}) > 1:
        raise InvalidInput(
            f"The repository has several GGUF models ({', '.join(gguf[:5])}{', ...' if gguf[5:] else ''}).",
            hint=f"Say which one: --include '{gguf[0]}'",
        )
