"""Megatron's torch_dist checkpoints: their folders, and where the weights of a Llama lie in them.

Layout of a folder of checkpoints, as Megatron-LM has it:

    latest_checkpointed_iteration.txt   "release", or the number of the newest iteration
    release/                            converted weights
    iter_0000150/                       weights and optimizer of a training

Layout of a checkpoint, which is torch's distributed checkpoint with Megatron's additions:

    .metadata        a pickle of torch's Metadata: dtype, shape and chunks of each tensor, and where each chunk lies
    __0_0.distcp     chunks, one after the other, each as torch.save writes it
    common.pt        what is no tensor, as torch.save writes it
    metadata.json    which format it is

The weights of all layers stand under one name, stacked along a first axis (layers, ...); or, as newer versions of
Megatron-LM write them, under a name each.
"""

import re
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import mapping, pickles, torch_files
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.mapping import Part, Weight
from pretrain_llama.checkpoints.tensors import ITEM_BYTES, Region, Spec, cover
from pretrain_llama.errors import ConfigError, OperatorError, listed
from pretrain_llama.files import write_text

TRACKER = "latest_checkpointed_iteration.txt"
CHECKPOINT_VERSION = 3.0  # Megatron-LM takes a checkpoint without it for version 0, with another order of q, k, v
METADATA = ".metadata"
_NUMBERED = re.compile(r"iter_\d{7,}")
_MODEL = ("embedding.", "decoder.", "output_layer.")  # how the names of weights begin; others are the training's


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
    name = tracker.read_text(encoding="utf-8").strip()
    if name != "release" and not name.isdigit():
        raise OperatorError(
            f"{name!r} names no iteration",
            where=tracker,
            action="write the number of the newest whole checkpoint there",
        )
    return Path(checkpoints) / "release" if name == "release" else iteration_folder(checkpoints, int(name))


def write_tracker(checkpoints: str | Path, name: str | int) -> None:
    """Name the newest checkpoint; written last, it makes a checkpoint count."""
    write_text(Path(checkpoints) / TRACKER, f"{name}\n")


class TorchDistTensors:
    """The weights in a torch_dist checkpoint, of any parallel layout, by Hugging Face name; see `Tensors`.

    Attributes:
        padded_vocab_size: rows of the embedding there.
    """

    def __init__(self, checkpoint: str | Path, architecture: Architecture) -> None:
        """Read the metadata.

        Raises:
            OperatorError: the folder holds no whole checkpoint, or one of another architecture.
            ConfigError: it has weights that a Llama has not.
        """
        self.place = Path(checkpoint)
        self._described, self._stored = _read_metadata(self.place)
        self._parts = {part.name: part for part in mapping.parts(architecture)}
        self.specs = {name: self._spec(part, architecture) for name, part in self._parts.items()}
        self.padded_vocab_size = self._described[mapping.EMBEDDING.megatron].size[0]
        self._check_others()
        self._regions = {name: self._find(part) for name, part in self._parts.items()}

    def regions(self, name: str) -> list[Region]:
        """Return where a tensor lies."""
        return self._regions[name]

    def _key(self, weight: Weight, layer: int | None) -> tuple[str, int | None]:
        """Return the name that a weight stands under, and its layer's place there; None where it is not stacked."""
        if layer is None:
            return weight.megatron, None
        own = f"decoder.layers.{layer}.{weight.megatron}"
        return (own, None) if own in self._described else (f"decoder.layers.{weight.megatron}", layer)

    def _spec(self, part: Part, architecture: Architecture) -> Spec:
        key, layer = self._key(part.weight, part.layer)
        described = self._described.get(key)
        found = tuple(described.size) if described else None
        rows = found[0] if found and part.weight.vocabulary else 0
        shape = mapping.megatron_shape(part.weight, architecture, max(rows, architecture.vocab_size))
        wanted = shape if layer is None else (architecture.layers, *shape)
        if found != wanted:
            raise OperatorError(
                f"{key} has shape {found}, {wanted} expected",
                where=self.place,
                action="give the config.json that the checkpoint was made with",
            )
        assert described is not None, "its shape was compared"
        dtype = described.properties.state[0]
        if dtype not in ITEM_BYTES:
            raise ConfigError(
                f"{key} has dtype {getattr(dtype, '__name__', dtype)}, not one of {', '.join(ITEM_BYTES)}",
                where=self.place,
                action="use a checkpoint whose weights are not quantized",
            )
        return Spec(dtype, part.shape)

    def _check_others(self) -> None:
        known = {self._key(part.weight, part.layer)[0] for part in self._parts.values()}
        unknown = [
            key for key in self._described if key.startswith(_MODEL) and key not in known and "._extra_state" not in key
        ]
        if unknown:
            raise ConfigError(
                f"{len(unknown)} weights are not a Llama's: {listed(sorted(unknown))}",
                where=self.place,
                action="use a Llama without biases or adapters",
            )

    def _find(self, part: Part) -> list[Region]:
        key, layer = self._key(part.weight, part.layer)
        sizes = {tuple(chunk.offsets): tuple(chunk.sizes) for chunk in self._described[key].chunks}
        of_weight = []
        for offsets, stored in self._stored.get(key, []):
            if layer is None or offsets[0] <= layer < offsets[0] + sizes[offsets][0]:
                of_weight.append(self._region(key, stored, offsets, sizes[offsets], layer))
        found = mapping.regions_of(part, of_weight)
        if not cover(found, self.specs[part.name]):
            raise OperatorError(
                f"chunks of {key} are missing", where=self.place / METADATA, action="fetch the checkpoint again"
            )
        return found

    def _region(
        self, key: str, stored: Any, offsets: tuple[int, ...], sizes: tuple[int, ...], layer: int | None
    ) -> Region:
        """Return where a chunk lies, and where in the weight, of one layer where layers are stacked."""
        path = self.place / stored.relative_path
        try:
            tensor = torch_files.load(path, stored.offset, stored.length)
        except FileNotFoundError:
            raise OperatorError("a file is missing", where=path, action="fetch the checkpoint again") from None
        torch_files.check_rows(tensor, key)
        offset = tensor.offset
        item_bytes = ITEM_BYTES[tensor.dtype]
        if layer is not None:
            if tensor.shape == sizes:
                offset += (layer - offsets[0]) * tensor.strides[0] * item_bytes
            offsets, sizes = offsets[1:], sizes[1:]
        row, rows = (offsets[0], sizes[0]) if len(sizes) == 2 else (0, 1)
        width = sizes[-1] * item_bytes
        stride = tensor.strides[-2] * item_bytes if len(sizes) == 2 else width
        return Region(row, rows, offsets[-1] * item_bytes, width, path, offset, stride)


def _read_metadata(checkpoint: Path) -> tuple[dict[str, Any], dict[str, list[tuple[tuple[int, ...], Any]]]]:
    """Return the description of each tensor, and where its chunks lie, each with its offsets."""
    try:
        with open(checkpoint / METADATA, "rb") as file:
            metadata = pickles.load(file, torch_files.KNOWN)
        described = {key: entry for key, entry in metadata.state_dict_metadata.items() if hasattr(entry, "chunks")}
        stored: dict[str, list[tuple[tuple[int, ...], Any]]] = {}
        for index, entry in metadata.storage_data.items():
            if getattr(index, "offset", None) is not None:  # of a tensor
                stored.setdefault(index.fqn, []).append((tuple(index.offset), entry))
    except (FileNotFoundError, NotADirectoryError, pickles.BrokenPickleError, AttributeError) as error:
        raise OperatorError(
            "no whole torch_dist checkpoint", where=checkpoint, action="delete it and convert or train again"
        ) from error
    return described, stored
