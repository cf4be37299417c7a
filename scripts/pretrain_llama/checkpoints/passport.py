"""The passport of a converted checkpoint: conversion.json, beside the weights.

{"version": 1,
 "source":       {"format": huggingface | torch_dist | megatron_torch, "files": {name: SHA-256}
                  "accepted_arguments": {name: value} of Megatron-LM that a person took the responsibility for, if any},
 "config":       config.json,
 "architecture": what was understood of it, with base and scaling of the rotary frequencies and the norms' epsilon,
 "padding":      of Megatron's vocabulary: {"multiple", "tensor_parallel", "padded_vocab_size", "rows": mean | zero},
 "expansion":    of the vocabulary, where it has one: {"from", "to", "rows": mean_of_pieces | mean | zero},
 "tokenizer":    of an export: how its ids compare with the training's, and what was changed of the source's config and
                 tokenizer (exports/tokenizer_files.py, exports/small_files.py),
 "dtypes":       {dtype: number of tensors},
 "tensors":      {Hugging Face name: {"dtype", "shape", "blake3"}}, without padding: the same in all formats,
 "files":        {name: bytes} of the weights that were written}

Of Megatron's formats, only small files are hashed whole, since the large ones hold an optimizer as well; the tensors'
hashes stand for them. The verification is a file of its own, {folder}.verification.json or verification.json in the
folder, since another step writes it; `read` joins the two. Nothing depends on when or where the passport was made: the
same source gives the same bytes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.architecture import PASSPORT, Architecture, read_architecture
from pretrain_llama.checkpoints.tensors import Spec, is_size
from pretrain_llama.checkpoints.torch_dist import TorchDistTensors
from pretrain_llama.errors import OperatorError, listed, shown
from pretrain_llama.files import read_json, sha256, write_json

VERIFICATION = "verification.json"
VERSION = 1


def write(
    folder: Path,
    source: dict[str, Any],
    architecture: Architecture,
    specs: dict[str, Spec],
    digests: dict[str, str],
    padding: dict[str, Any] | None = None,
    expansion: dict[str, Any] | None = None,
    tokenizer: dict[str, Any] | None = None,
) -> None:
    """Write the passport of a folder.

    Args:
        folder: of the converted checkpoint, complete but for this.
        source: format and hashed files of what was converted.
        architecture: of the model.
        specs: dtype and shape of each tensor, by Hugging Face name.
        digests: BLAKE3 of each.
        padding: of the vocabulary; None where nothing is padded.
        expansion: of the vocabulary; None where it is as it was.
        tokenizer: what is recorded of it; None where it was carried as it is.
    """
    weights = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".distcp")]
    passport = {
        "version": VERSION,
        "source": source,
        "config": read_json(folder / "config.json"),
        "architecture": _described(architecture),
        "padding": padding,
        "expansion": expansion,
        "tokenizer": tokenizer,
        "dtypes": dict(Counter(spec.dtype for spec in specs.values())),
        "tensors": {name: _tensor(spec) | {"blake3": digests[name]} for name, spec in specs.items()},
        "files": {str(path.relative_to(folder)): path.stat().st_size for path in sorted(weights)},
    }
    write_json(folder / PASSPORT, {key: value for key, value in passport.items() if value is not None})


def _described(architecture: Architecture) -> dict[str, Any]:
    """Return an architecture as JSON; how it is padded stands elsewhere."""
    return {key: value for key, value in asdict(architecture).items() if key != "vocab_multiple"}


def _tensor(spec: Spec) -> dict[str, Any]:
    return {"dtype": spec.dtype, "shape": list(spec.shape)}


def read(folder: str | Path) -> dict[str, Any]:
    """Return the passport of a folder, joined with the result of its verification: None where there is none.

    Raises:
        OperatorError: there is no passport, or one of another version.
    """
    folder = Path(folder)
    path = folder / PASSPORT
    passport = mappings.read_object(path) if path.exists() else {}
    if passport.get("version") != VERSION:
        raise OperatorError(
            "no passport of this version" if passport else "no passport", where=path, action=_CONVERT_AGAIN
        )
    if not _is_passport(passport):
        raise OperatorError("the passport is damaged", where=path, action=_CONVERT_AGAIN)
    kept = verification_path(folder)
    return passport | {"verification": mappings.read_object(kept) if kept else None}


_CONVERT_AGAIN = "give a folder that convert_checkpoint wrote, or convert the checkpoint again"


def _is_passport(passport: dict[str, Any]) -> bool:
    """Say whether a passport has the parts that are looked at, each of its form."""
    match passport:
        case {"source": dict(), "architecture": dict(), "tensors": dict(tensors), "files": dict(files)}:
            padding = passport.get("padding", {"tensor_parallel": 1, "padded_vocab_size": 1})
            return (
                all(
                    isinstance(tensor, dict) and {"dtype", "shape", "blake3"} <= tensor.keys()
                    for tensor in tensors.values()
                )
                and all(map(is_size, files.values()))
                and isinstance(padding, dict)
                and all(is_size(padding.get(key)) for key in ("tensor_parallel", "padded_vocab_size"))
            )
    return False


def accepted(folder: str | Path) -> dict[str, str]:
    """Return the arguments of Megatron-LM that a person took the responsibility for, by a folder's passport."""
    path = Path(folder) / PASSPORT
    source = mappings.read_object(path).get("source") if path.exists() else None
    found = source.get("accepted_arguments") if isinstance(source, dict) else None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def verification_path(folder: Path) -> Path | None:
    """Return where the verification of a folder is; None where there is none."""
    locations = (folder / VERIFICATION, folder.with_name(f"{folder.name}.{VERIFICATION}"))
    return next((location for location in locations if location.exists()), None)


def check(folder: str | Path, trained: Path | None = None, like: Path | None = None) -> None:
    """Check that a converted Megatron checkpoint is what its passport says.

    Args:
        folder: of config.json, conversion.json, and the checkpoint.
        trained: a checkpoint of a training that started from it, which is looked at instead of its own weights. Its
            vocabulary may be padded otherwise: the tensor parallel size may have changed since.
        like: a folder whose config.json has to describe the same model.

    Raises:
        OperatorError: it is not; shows the differences.
    """
    folder = Path(folder)
    passport = read(folder)
    if "padding" not in passport:
        raise OperatorError(
            f"no Megatron checkpoint: its {PASSPORT} is that of a Hugging Face folder",
            where=folder,
            action="give a folder that convert_checkpoint.py wrote",
        )
    differences = [*_differences(folder, passport, trained)]
    differences += _other_architecture(passport, read_architecture(like), f"{like}/config.json") if like else []
    if differences:
        raise OperatorError(
            "the checkpoint is not what its passport says:\n    " + listed(differences, "\n    "),
            where=folder / PASSPORT,
            action="put back what was changed, or convert the checkpoint again for these sizes",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _other_architecture(passport: dict[str, Any], architecture: Architecture, where: str) -> Iterator[str]:
    found = _described(architecture)
    for key, value in passport["architecture"].items():
        if key not in found or found[key] != value:
            yield f"{where}: {key}: {shown(value)} -> {shown(found.get(key))}"


def _differences(folder: Path, passport: dict[str, Any], trained: Path | None) -> Iterator[str]:
    architecture = read_architecture(folder)
    others = list(_other_architecture(passport, architecture, "config.json"))
    yield from others
    padded = architecture.padded_vocab_size(passport["padding"]["tensor_parallel"])
    if padded != passport["padding"]["padded_vocab_size"]:
        yield f"padded vocabulary: {passport['padding']['padded_vocab_size']} -> {padded} as the model is built"
    if passport["verification"] and passport["verification"].get("conversion") != sha256(folder / PASSPORT):
        yield "verification: of another conversion"
    if others:
        return  # the tensors would differ as well
    if trained:
        TorchDistTensors(trained, architecture)  # which refuses what does not fit
        return
    misfits = [(name, size) for name, size in passport["files"].items() if _size(folder / name) != size]
    for name, size in misfits:
        yield f"{name}: {size:,} bytes -> {_size(folder / name):,}"
    if misfits:
        return
    specs = TorchDistTensors(torch_dist.newest(folder), architecture).specs
    for name, recorded in passport["tensors"].items():
        described = {key: recorded[key] for key in ("dtype", "shape")}
        found = _tensor(specs[name]) if name in specs else None
        if described != found:
            yield f"{shown(name)}: {shown(described)} -> {found}"
