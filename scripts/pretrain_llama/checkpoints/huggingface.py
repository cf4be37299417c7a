"""Read and write the safetensors files of a Hugging Face folder: where each tensor lies."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.checkpoints import mapping
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.safetensors_files import FETCH_AGAIN, Entry, header, read_header
from pretrain_llama.checkpoints.tensors import SAFETENSORS_DTYPES, TORCH_DTYPES, Region, Spec, whole
from pretrain_llama.errors import ConfigError, DataError, listed, shown
from pretrain_llama.exports.tokenizer_files import RECORD

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBEDDING, OUTPUT = mapping.EMBEDDING.huggingface[0], mapping.OUTPUT.huggingface[0]
# What belongs to a model but holds no weights, and is carried along by a conversion.
CARRIED_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
SHARD_BYTES = 5 * 10**9  # as transformers has cut models for years
COMPARED_BYTES = 1 << 20


class HuggingFaceTensors:
    """The tensors of a folder's safetensors files; see `Tensors`.

    Attributes:
        files: the names of a Llama's tensors in each file, in their order there.
    """

    accepted: Mapping[str, str] = {}  # these are of Megatron-LM's checkpoints: see MegatronTorchTensors
    has_arguments = True

    def __init__(self, folder: str | Path, architecture: Architecture) -> None:
        """Read the headers.

        Raises:
            ConfigError: the tensors are not those of the architecture, in fp32, fp16 or bf16.
            DataError: a file is missing, cut short or damaged.
        """
        self.location = Path(folder)
        headers = {path: read_header(path) for path in _paths(self.location)}
        self._entries = {name: entry for entries in headers.values() for name, entry in entries.items()}
        _check_index(self.location, self._entries)
        if architecture.tied and EMBEDDING not in self._entries and OUTPUT in self._entries:
            self._entries[EMBEDDING] = self._entries[OUTPUT]  # which transformers takes for both, as well
        self.specs = {part.name: self._spec(part) for part in mapping.parts(architecture)}
        self._check_others(architecture)
        placed = sorted(self.specs, key=lambda name: self._entries[name].start)
        self.files = {path: [name for name in placed if self._entries[name].path == path] for path in headers}

    def regions(self, name: str) -> list[Region]:
        """Return where a tensor lies."""
        entry = self._entries[name]
        return [whole(self.specs[name], entry.path, entry.start)]

    def _spec(self, part: mapping.Part) -> Spec:
        entry = self._entries.get(part.name)
        if entry is None:
            raise ConfigError(
                f"tensor {part.name!r} is missing", where=self.location, action="use a complete Llama checkpoint"
            )
        problem = None
        if entry.dtype not in SAFETENSORS_DTYPES:
            problem = f"tensor {part.name!r} has dtype {entry.dtype}, not one of {', '.join(SAFETENSORS_DTYPES)}"
        elif entry.shape != part.shape:
            problem = f"tensor {part.name!r} has shape {entry.shape}, {part.shape} by config.json"
        if problem:
            raise ConfigError(problem, where=entry.path, action="use the config.json and the weights of one Llama")
        spec = Spec(SAFETENSORS_DTYPES[entry.dtype], part.shape)
        if entry.stop - entry.start != spec.bytes:
            raise DataError(
                f"tensor {part.name!r} has {entry.stop - entry.start} bytes, not {spec.bytes}",
                where=entry.path,
                action=FETCH_AGAIN,
            )
        return spec

    def _check_others(self, architecture: Architecture) -> None:
        others = self._entries.keys() - self.specs.keys()
        if architecture.tied and OUTPUT in others:
            self._check_tied()
            others -= {OUTPUT}
        # Old checkpoints carry the rotary frequencies, which follow from the config.
        unknown = sorted(name for name in others if not name.endswith("rotary_emb.inv_freq"))
        if unknown:
            raise ConfigError(
                f"{len(unknown)} tensors are not a Llama's: {listed(unknown)}",
                where=self.location,
                action="use a Llama without biases or adapters",
            )

    def _check_tied(self) -> None:
        """Check that an output layer that is written out is the embedding that it shares."""
        if not _same_bytes(self._entries[EMBEDDING], self._entries[OUTPUT]):
            raise ConfigError(
                f"tie_word_embeddings is true, but {OUTPUT} is not {EMBEDDING}",
                where=self.location,
                action="set tie_word_embeddings to false in config.json, if the model computes with both",
            )


def _same_bytes(first: Entry, second: Entry) -> bool:
    length = first.stop - first.start
    if second.stop - second.start != length:
        return False
    with open(first.path, "rb") as one, open(second.path, "rb") as other:
        one.seek(first.start)
        other.seek(second.start)
        sizes = [min(COMPARED_BYTES, length - begin) for begin in range(0, length, COMPARED_BYTES)]
        return all(one.read(size) == other.read(size) for size in sizes)


def _paths(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, as transformers chooses them."""
    if (folder / WHOLE).exists():
        return [folder / WHOLE]
    names = sorted(set(_weight_map(folder).values()))
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(names)} files of the index are missing: {listed(missing)}",
            where=folder / INDEX,
            action="fetch them",
        )
    return [folder / name for name in names]


def _weight_map(folder: Path) -> dict[str, str]:
    """Return the file of each tensor, by the index of a folder."""
    try:
        weight_map: Any = mappings.read_object(folder / INDEX).get("weight_map")
    except ConfigError as error:
        raise DataError(
            f"no index of safetensors: {error.problem}", where=folder / INDEX, action=FETCH_AGAIN
        ) from error
    if not isinstance(weight_map, dict) or not all(map(_is_file_beside, weight_map.values())):
        raise DataError(
            f"no index of safetensors: weight_map is {shown(weight_map)}, no files beside it",
            where=folder / INDEX,
            action=FETCH_AGAIN,
        )
    return weight_map


def _is_file_beside(name: object) -> bool:
    return isinstance(name, str) and bool(name) and Path(name).name == name


def _check_index(folder: Path, entries: dict[str, Entry]) -> None:
    for name, file in ({} if (folder / WHOLE).exists() else _weight_map(folder)).items():
        if name not in entries or entries[name].path.name != file:
            raise DataError(f"{file} does not hold tensor {name!r}", where=folder / INDEX, action=FETCH_AGAIN)


class HuggingFaceLayout:
    """The safetensors files that tensors are written to, with the offset of each; see `Tensors`."""

    def __init__(self, folder: Path, specs: dict[str, Spec], shard_bytes: int = SHARD_BYTES) -> None:
        """Lay out tensors, in their order, in files of up to `shard_bytes` of tensors; a larger one has its own."""
        self.location, self.specs = folder, specs
        self._files: dict[str, dict[str, Spec]] = _named(_cut(specs, shard_bytes))
        self._headers: dict[str, bytes] = {}
        self._regions: dict[str, Region] = {}
        for file, held in self._files.items():
            self._headers[file], begins = header(held)
            for name, begin in begins.items():
                self._regions[name] = whole(specs[name], folder / file, begin)

    def regions(self, name: str) -> list[Region]:
        """Return where a tensor goes."""
        return [self._regions[name]]

    def write_frame(self) -> None:
        """Write all but the tensors."""
        for file, content in self._headers.items():
            (self.location / file).write_bytes(content)
        if len(self._files) > 1:
            total = sum(spec.bytes for spec in self.specs.values())
            weight_map = {name: file for file, held in self._files.items() for name in held}
            _write_json(self.location / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _cut(specs: dict[str, Spec], shard_bytes: int) -> list[dict[str, Spec]]:
    shards: list[dict[str, Spec]] = [{}]
    filled = 0
    for name, spec in specs.items():
        if shards[-1] and filled + spec.bytes > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = spec
        filled += spec.bytes
    return shards


def _named(shards: list[dict[str, Spec]]) -> dict[str, dict[str, Spec]]:
    if len(shards) == 1:
        return {WHOLE: shards[0]}
    return {f"model-{number:05d}-of-{len(shards):05d}.safetensors": held for number, held in enumerate(shards, 1)}


def carry_files(source: Path, target: Path, dtype: str | None = None) -> dict[str, Any] | None:
    """Copy config and tokenizer from a folder to another; `dtype` is that of the weights there, for config.json.

    Returns what is recorded of the tokenizer, where write_small_files made the folder.
    """
    for name in CARRIED_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    if dtype:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        dtype_key = "dtype" if "dtype" in config else "torch_dtype"  # of transformers 5 and 4
        torch_dtype = {ours: theirs for theirs, ours in TORCH_DTYPES.items()}
        _write_json(target / "config.json", config | {dtype_key: torch_dtype[dtype]})
    return mappings.read_object(source / RECORD) if (source / RECORD).exists() else None


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
