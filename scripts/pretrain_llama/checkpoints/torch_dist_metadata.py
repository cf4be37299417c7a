"""Read the `.metadata` of a torch_dist checkpoint: its tensors and objects, and where their chunks lie.

A pickle of torch's Metadata: of each tensor its dtype, shape and chunks; of each chunk the file, its offset in that and
its length. What is read has the types below, or is refused as damaged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import formats, pickles, torch_files
from pretrain_llama.checkpoints.formats import METADATA
from pretrain_llama.checkpoints.tensors import is_size
from pretrain_llama.errors import ConfigError, OperatorError, shown

COMMON_STATE = "common_state/shard_0_1"  # megatron-core from 0.19 on; before, it wrote common.pt


@dataclass(frozen=True)
class Stored:
    """The location of an archive of torch.save: its file, its first byte there, and its length in bytes."""

    path: Path
    begin: int
    length: int


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor: its offset along each axis, its sizes, and where it lies."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    stored: Stored


@dataclass(frozen=True)
class Described:
    """A tensor; dtype: ours, or torch's name of it; chunks: those that lie in some file."""

    dtype: str
    size: tuple[int, ...]
    chunks: list[Chunk]


@dataclass(frozen=True)
class Metadata:
    """The tensors by name, and where the other objects lie."""

    tensors: dict[str, Described]
    objects: dict[str, Stored]

    def common_state(self) -> Any:
        """Return what Megatron-LM kept beside the tensors, its arguments among them; None where it is not in here."""
        stored = self.objects.get(COMMON_STATE)
        loaded = torch_files.load(stored.path, stored.begin, stored.length) if stored else None
        return loaded[0] if isinstance(loaded, list) and loaded else loaded  # a list of one, as it writes objects


class _Damaged(Exception):
    """It is no metadata of torch."""


def read_metadata(checkpoint: Path) -> Metadata:
    """Return what a checkpoint's `.metadata` says.

    Raises:
        OperatorError: there is none, or it is damaged.
        ConfigError: the chunks are compressed, or it is a checkpoint of another format.
    """
    path = checkpoint / METADATA
    try:
        with open(path, "rb") as file:
            read = pickles.load(file, torch_files.KNOWN)
        sizes: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {}
        tensors: dict[str, Described] = {}
        for key, entry in _items(read, "state_dict_metadata"):
            if hasattr(entry, "chunks"):
                tensors[_text(key)] = Described(_dtype(entry), _sizes(entry.size), [])
                sizes[key] = {_sizes(chunk.offsets): _sizes(chunk.sizes) for chunk in _list(entry.chunks)}
        objects = {}
        for index, entry in _items(read, "storage_data"):
            key, stored = _text(index.fqn), _stored(entry, checkpoint)
            if getattr(index, "offset", None) is None:
                objects[key] = stored
            elif key in tensors:
                offsets = _sizes(index.offset)
                tensors[key].chunks.append(Chunk(offsets, sizes[key][offsets], stored))
    except (FileNotFoundError, NotADirectoryError):
        raise formats.unread(checkpoint) from None
    except (pickles.BrokenPickleError, _Damaged, AttributeError, KeyError) as error:
        raise OperatorError(
            f"no whole torch_dist checkpoint: its {METADATA} is damaged, {error}",
            where=path,
            action="fetch the file again, or use the checkpoint of another iteration",
        ) from error
    return Metadata(tensors, objects)


def _items(read: Any, name: str) -> list[tuple[Any, Any]]:
    found = getattr(read, name, None)
    if not isinstance(found, dict):
        raise _Damaged(f"it has no {name}")
    return list(found.items())


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Damaged(f"{shown(value)} are no chunks")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Damaged(f"{shown(value)} is no name")
    return value


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(map(is_size, value)):
        raise _Damaged(f"{shown(value)} is no shape")
    return value


def _dtype(entry: Any) -> str:
    """Return the dtype in torch's description of a tensor, the first part of its properties."""
    state = getattr(entry.properties, "state", None)
    if not isinstance(state, tuple) or not state:
        raise _Damaged("a tensor has no properties")
    return state[0] if isinstance(state[0], str) else getattr(state[0], "__name__", shown(state[0]))


def _stored(entry: Any, checkpoint: Path) -> Stored:
    if getattr(entry, "transform_descriptors", None):
        raise ConfigError(
            "its chunks are compressed, which are not read",
            where=checkpoint / METADATA,
            action="load it with torch.distributed.checkpoint, and save it without extensions",
        )
    name, begin, length = entry.relative_path, entry.offset, entry.length
    if not isinstance(name, str) or Path(name).name != name or not (is_size(begin) and is_size(length)):
        raise _Damaged(f"{shown((name, begin, length))} is no place in its files")
    return Stored(checkpoint / name, begin, length)
