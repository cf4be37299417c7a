"""Read Megatron's torch_dist checkpoints: their folders, and where the weights of a Llama lie in them.

Layout of a folder of checkpoints, as Megatron-LM has it:

    latest_checkpointed_iteration.txt   "release", or the number of the newest iteration
    release/                            converted weights
    iter_0000150/                       weights and optimizer of a training

Layout of a checkpoint, which is torch's distributed checkpoint with Megatron's additions:

    .metadata        dtype, shape and chunks of each tensor, and where each chunk lies: torch_dist_metadata.py
    __0_0.distcp     chunks, one after the other, each as torch.save writes it
    common.pt        what is no tensor, as torch.save writes it; megatron-core 0.19 has it among the chunks
    metadata.json    which format it is

The weights of all layers stand under one name, stacked along a first axis (layers, ...); or, as newer versions of
Megatron-LM write them, under a name each.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from pretrain_llama.checkpoints import mapping, torch_files
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.formats import METADATA, TRACKER
from pretrain_llama.checkpoints.mapping import Part
from pretrain_llama.checkpoints.tensors import ITEM_BYTES, Region, Spec, cover
from pretrain_llama.checkpoints.torch_dist_metadata import Chunk, Described, Metadata, read_metadata
from pretrain_llama.checkpoints.torch_files import StoredTensor
from pretrain_llama.errors import ConfigError, OperatorError, listed, shown
from pretrain_llama.files import write_text

CHECKPOINT_VERSION = 3.0  # Megatron-LM takes a checkpoint without it for version 0, with another order of q, k, v
_NUMBERED = re.compile(r"iter_\d{7,}")
_OF_TRAINING = re.compile(r"(chained_\d+\.)?optimizer")  # how the names of tensors begin that are no weights


def iteration_folder(checkpoints: str | Path, iteration: int) -> Path:
    """Return the folder of a training's checkpoint."""
    return Path(checkpoints) / f"iter_{iteration:07d}"


def newest(checkpoints: str | Path) -> Path:
    """Return the newest checkpoint of a folder.

    Raises:
        OperatorError: there is none, or the tracker names no iteration.
    """
    found = latest(checkpoints)
    if found is None:
        raise OperatorError(
            f"no checkpoint: {TRACKER} is missing", where=checkpoints, action="convert or train one into this folder"
        )
    return found


def numbered(checkpoints: Path) -> dict[int, Path]:
    """Return the folders of checkpoints by iteration, newest first."""
    found = [path for path in checkpoints.glob("iter_*") if _NUMBERED.fullmatch(path.name)]
    return {iteration_of(path): path for path in sorted(found, key=iteration_of, reverse=True)}


def iteration_of(checkpoint: Path) -> int:
    """Return the iteration that a checkpoint's folder is named by."""
    return int(checkpoint.name.removeprefix("iter_"))


def latest(checkpoints: str | Path) -> Path | None:
    """Return the newest checkpoint of a folder, as its tracker file names it, or None where there is none.

    Raises:
        OperatorError: the tracker names no iteration.
    """
    tracker = Path(checkpoints) / TRACKER
    if not tracker.exists():
        return None
    name = _first_bytes(tracker).decode("utf-8", "replace").strip()
    if name != "release" and not re.fullmatch(r"[0-9]{1,18}", name):
        raise OperatorError(
            f"{shown(name)} names no iteration",
            where=tracker,
            action="write the number of the newest whole checkpoint there",
        )
    return Path(checkpoints) / "release" if name == "release" else iteration_folder(checkpoints, int(name))


def _first_bytes(tracker: Path, most: int = 100) -> bytes:
    with open(tracker, "rb") as file:
        return file.read(most)


def write_tracker(checkpoints: str | Path, name: str | int) -> None:
    """Name the newest checkpoint; written last, it makes a checkpoint count."""
    write_text(Path(checkpoints) / TRACKER, f"{name}\n")


class TorchDistTensors:
    """The weights in a torch_dist checkpoint, of any parallel layout, by Hugging Face name; see `Tensors`.

    Attributes:
        padded_vocab_size: rows of the embedding there.
        accepted, has_arguments: see MegatronTorchTensors; `open_tensors` sets them.
    """

    def __init__(self, checkpoint: str | Path, architecture: Architecture, metadata: Metadata | None = None) -> None:
        """Find the weights.

        Args:
            checkpoint: the folder.
            architecture: of the model.
            metadata: of the checkpoint, where it was read before.

        Raises:
            OperatorError: the folder holds no whole checkpoint, or one of another architecture.
            ConfigError: it has weights that a Llama has not, or another format.
        """
        self.location = Path(checkpoint)
        self.accepted: Mapping[str, str] = {}
        self.has_arguments = True
        self._tensors = (metadata or read_metadata(self.location)).tensors
        self._architecture = architecture
        self._parts = {part.name: part for part in mapping.parts(architecture)}
        self.specs = {name: self._spec(part) for name, part in self._parts.items()}
        self.padded_vocab_size = self._tensors[mapping.EMBEDDING.megatron].size[0]
        self._check_others()
        self._regions = {name: self._find(part) for name, part in self._parts.items()}

    def regions(self, name: str) -> list[Region]:
        """Return where a tensor lies."""
        return self._regions[name]

    def _keys(self, part: Part) -> tuple[tuple[str, ...], int | None]:
        """Return the names that a weight stands under, and its layer's row there; None where it is not stacked.

        Gate and up have a name each where megatron-core saves what each process has (singleton_local_shards).
        """
        name, layer = part.weight.megatron, part.layer
        if layer is None:
            return (name,), None
        own, stacked = f"decoder.layers.{layer}.{name}", f"decoder.layers.{name}"
        for key, row in ((own, None), (stacked, layer)):
            if part.weight is mapping.GATE_UP and f"{key}_w" in self._tensors:
                return (f"{key}_w", f"{key}_v"), row
            if key in self._tensors:
                return (key,), row
        return (stacked,), layer

    def _spec(self, part: Part) -> Spec:
        keys, layer = self._keys(part)
        described = [self._described(key) for key in keys]
        rows = described[0].size[0] if described[0].size and part.weight.vocabulary else 0
        whole = mapping.megatron_shape(part.weight, self._architecture, max(rows, self._architecture.vocab_size))
        shape = (whole[0] // len(keys), *whole[1:])
        wanted = shape if layer is None else (self._architecture.layers, *shape)
        for key, found in zip(keys, described, strict=True):
            if found.size != wanted:
                raise OperatorError(
                    f"{key} has shape {found.size}, {wanted} expected",
                    where=self.location,
                    action="give the config.json that the checkpoint was made with",
                )
            if found.dtype not in ITEM_BYTES or found.dtype != described[0].dtype:
                raise ConfigError(
                    f"{key} has dtype {found.dtype}, not one of {', '.join(ITEM_BYTES)}",
                    where=self.location,
                    action="use a checkpoint whose weights are not quantized",
                )
        return Spec(described[0].dtype, part.shape)

    def _described(self, key: str) -> Described:
        if key not in self._tensors:
            raise OperatorError(
                f"no weight {key}; there are {listed(sorted(self._tensors)) or 'none'}",
                where=self.location,
                action="use a checkpoint of the format torch_dist that holds a whole Llama, with its config.json",
            )
        return self._tensors[key]

    def _check_others(self) -> None:
        known = {key for part in self._parts.values() for key in self._keys(part)[0]}
        unknown = [
            key
            for key in self._tensors
            if key not in known and not _OF_TRAINING.match(key) and "._extra_state" not in key
        ]
        if unknown:
            raise ConfigError(
                f"{len(unknown)} weights are not a Llama's: {listed(sorted(unknown))}",
                where=self.location,
                action="use a Llama without biases or adapters",
            )

    def _find(self, part: Part) -> list[Region]:
        keys, layer = self._keys(part)
        of_weight = []
        for number, key in enumerate(keys):
            described = self._described(key)
            for chunk in described.chunks:
                if layer is None or chunk.offsets[0] <= layer < chunk.offsets[0] + chunk.sizes[0]:
                    region = self._region(key, chunk, described.dtype, layer)
                    of_weight.append(region.moved(number * described.size[-2] if number else 0))
        found = mapping.regions_of(part, of_weight)
        if not cover(found, self.specs[part.name]):
            raise OperatorError(
                f"chunks of {keys[0]} are missing", where=self.location / METADATA, action="fetch the checkpoint again"
            )
        return found

    def _region(self, key: str, chunk: Chunk, dtype: str, layer: int | None) -> Region:
        """Return where a chunk lies, and where in the weight, of one layer where layers are stacked."""
        path, offsets, sizes = chunk.stored.path, chunk.offsets, chunk.sizes
        try:
            tensor = torch_files.load(path, chunk.stored.begin, chunk.stored.length)
        except FileNotFoundError:
            raise OperatorError("a file is missing", where=path, action="fetch the checkpoint again") from None
        own = tensor.shape if isinstance(tensor, StoredTensor) and tensor.dtype == dtype else None
        if own not in (sizes, sizes[1:] if layer is not None else sizes):
            raise OperatorError(
                f"a chunk of {key} is no {dtype} of shape {sizes}", where=path, action="fetch the checkpoint again"
            )
        torch_files.check_rows(tensor, key)
        offset = tensor.offset
        item_bytes = ITEM_BYTES[dtype]
        if layer is not None:
            if own == sizes:
                offset += (layer - offsets[0]) * tensor.strides[0] * item_bytes
            offsets, sizes = offsets[1:], sizes[1:]
        row, rows = (offsets[0], sizes[0]) if len(sizes) == 2 else (0, 1)
        width = sizes[-1] * item_bytes
        stride = tensor.strides[-2] * item_bytes if len(sizes) == 2 else width
        return Region(row, rows, offsets[-1] * item_bytes, width, path, offset, stride)
