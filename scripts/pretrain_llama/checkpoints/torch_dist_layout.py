"""Write a torch_dist checkpoint of a Llama (its layout: torch_dist.py) without torch.

It holds a chunk for each weight of each layer, in one file, and loads on any parallel sizes: torch reads what each
process needs of each chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import mapping, pickles, torch_files
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.mapping import Weight
from pretrain_llama.checkpoints.megatron_args import kept_arguments
from pretrain_llama.checkpoints.pickles import Call, Name, New, Pairs
from pretrain_llama.checkpoints.tensors import TORCH_DTYPES, Region, Spec, whole
from pretrain_llama.checkpoints.torch_dist import CHECKPOINT_VERSION, METADATA
from pretrain_llama.errors import ConfigError
from pretrain_llama.files import write_json

DATA = "__0_0.distcp"
# Layers that may keep a state of their own (fp8 scales), which Megatron asks for on loading; None is no state.
# megatron-core's own layers ask for that of the linear ones; those of Transformer Engine also for that of the last norm
# (from its version 2 on) and, with older versions of megatron-core, for that of the attention.
STATEFUL = (
    "self_attention.linear_qkv",
    "self_attention.core_attention",
    "self_attention.linear_proj",
    "mlp.linear_fc1",
    "mlp.linear_fc2",
)


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor: the tensor's name, the part's offset in it, its shape, and its archive in DATA."""

    key: str
    offsets: tuple[int, ...]
    spec: Spec
    begin: int
    head: bytes
    tail: bytes

    @property
    def data(self) -> int:
        """Where its bytes begin in DATA."""
        return self.begin + len(self.head)

    @property
    def end(self) -> int:
        """Where its archive ends in DATA."""
        return self.data + self.spec.bytes + len(self.tail)


class TorchDistLayout:
    """Where a Llama's tensors lie in a checkpoint, by Hugging Face name; see `Tensors`."""

    def __init__(
        self, checkpoint: Path, specs: dict[str, Spec], architecture: Architecture, tensor: int, pipeline: int
    ) -> None:
        """Lay out tensors.

        Args:
            checkpoint: the folder.
            specs: of a Llama's tensors, by Hugging Face name, as they are delivered.
            architecture: of the Llama.
            tensor, pipeline: parallel sizes that it is meant for, which pad the vocabulary.

        Raises:
            ConfigError: a weight has not the same dtype everywhere.
        """
        self.location, self.specs = checkpoint, specs
        self._architecture, self._padded_vocab_size = architecture, architecture.padded_vocab_size(tensor)
        self._arguments = kept_arguments(architecture, tensor, pipeline)
        self._dtypes = _dtypes(specs, architecture, checkpoint)
        self._parts = {part.name: part for part in mapping.parts(architecture)}
        self._chunks: dict[tuple[Weight, int | None], list[Chunk]] = {}
        end = 0
        for weight, layer in dict.fromkeys((part.weight, part.layer) for part in self._parts.values()):
            self._chunks[weight, layer] = list(self._lay_out(weight, layer, end))
            end = self._chunks[weight, layer][-1].end
        self.bytes = end

    def _shape(self, weight: Weight) -> tuple[int, ...]:
        return mapping.megatron_shape(weight, self._architecture, self._padded_vocab_size)

    def _lay_out(self, weight: Weight, layer: int | None, end: int) -> Iterator[Chunk]:
        """Yield the chunks of a weight: one, but one each of gate and up, as Megatron cuts them."""
        shape = self._shape(weight)
        count = len(weight.huggingface) if weight is mapping.GATE_UP else 1
        rows = shape[0] // count
        for index in range(count):
            offsets = (index * rows, *(0 for _ in shape[1:]))
            spec = Spec(self._dtypes[weight], (rows, *shape[1:]))
            key = weight.megatron
            if layer is not None:
                key, offsets, spec = f"decoder.layers.{key}", (layer, *offsets), Spec(spec.dtype, (1, *spec.shape))
            begin = end + -end % torch_files.ALIGNMENT
            chunk = Chunk(key, offsets, spec, begin, *torch_files.envelope(spec))
            end = chunk.end
            yield chunk

    def _regions_of_weight(self, weight: Weight, layer: int | None) -> list[Region]:
        regions, row = [], 0
        for chunk in self._chunks[weight, layer]:
            regions.append(whole(chunk.spec, self.location / DATA, chunk.data).moved(row))
            row += chunk.spec.rows
        return regions

    def regions(self, name: str) -> list[Region]:
        """Return where a tensor goes."""
        part = self._parts[name]
        return mapping.regions_of(part, self._regions_of_weight(part.weight, part.layer))

    def padding_region(self, name: str) -> Region | None:
        """Return where the rows go that pad a vocabulary's tensor, after its own rows; None without padding."""
        part = self._parts[name]
        rows = self.specs[name].rows
        (region,) = self._regions_of_weight(part.weight, part.layer)
        return region.cut(rows, self._padded_vocab_size - rows)

    def write_frame(self) -> None:
        """Write all but the tensors."""
        chunks = [chunk for chunks in self._chunks.values() for chunk in chunks]
        no_state = torch_files.saved([None])
        with open(self.location / DATA, "wb") as file:
            for chunk in chunks:
                file.seek(chunk.begin)
                file.write(chunk.head)
                file.seek(chunk.data + chunk.spec.bytes)
                file.write(chunk.tail)
            states = {key: file.tell() + number * len(no_state) for number, key in enumerate(self._extra_states())}
            file.write(no_state * len(states))
        stored = [(_index(chunk.key, chunk.offsets), _stored(chunk.begin, chunk.end - chunk.begin)) for chunk in chunks]
        stored += [(_index(key, None), _stored(begin, len(no_state))) for key, begin in states.items()]
        described = self._described(chunks) | {key: New(_class("BytesStorageMetadata"), {}) for key in states}
        metadata: dict[str, Any] = {
            "state_dict_metadata": described,
            "planner_data": None,
            "storage_data": Pairs(stored),
        }
        metadata |= {"storage_meta": None, "version": "1.0.0"}
        (self.location / METADATA).write_bytes(pickles.dump(New(_class("Metadata"), metadata)))
        arguments = New(Name("argparse", "Namespace"), vars(self._arguments))
        common = {"args": arguments, "checkpoint_version": CHECKPOINT_VERSION, "iteration": 0}
        (self.location / "common.pt").write_bytes(torch_files.saved(common))
        formats = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
        write_json(self.location / "metadata.json", formats | {"common_backend": "torch", "common_backend_version": 1})

    def _extra_states(self) -> list[str]:
        layers = self._architecture.layers
        return [
            f"decoder.layers.{name}._extra_state/shard_{layer}_{layers}" for layer in range(layers) for name in STATEFUL
        ] + ["decoder.final_layernorm._extra_state/shard_0_1"]

    def _described(self, chunks: list[Chunk]) -> dict[str, New]:
        """Return torch's description of each tensor."""
        chunks_of: dict[str, list[Chunk]] = {}
        for chunk in chunks:
            chunks_of.setdefault(chunk.key, []).append(chunk)
        described = {}
        for weight, layer in self._chunks:
            shape = self._shape(weight)
            key = self._chunks[weight, layer][0].key
            described[key] = New(
                _class("TensorStorageMetadata"),
                {
                    "properties": _properties(self._dtypes[weight]),
                    "size": _size(shape if layer is None else (self._architecture.layers, *shape)),
                    "chunks": [
                        New(_class("ChunkStorageMetadata"), {"offsets": _size(c.offsets), "sizes": _size(c.spec.shape)})
                        for c in chunks_of[key]
                    ],
                },
            )
        return described


def _dtypes(specs: dict[str, Spec], architecture: Architecture, where: Path) -> dict[Weight, str]:
    """Return the dtype of each weight, which is the same in all layers."""
    dtypes: dict[Weight, str] = {}
    for part in mapping.parts(architecture):
        dtype = specs[part.name].dtype
        if dtypes.setdefault(part.weight, dtype) != dtype:
            raise ConfigError(
                f"{part.name} has dtype {dtype}, but {dtypes[part.weight]} elsewhere: Megatron keeps "
                f"{part.weight.megatron} of all layers in one dtype",
                where=where,
                action="save the model in one dtype",
            )
    return dtypes


def _class(name: str, module: str = "torch.distributed.checkpoint.metadata") -> Name:
    return Name(module, name)


def _size(shape: tuple[int, ...]) -> Call:
    return Call(Name("torch", "Size"), (shape,))


def _properties(dtype: str) -> New:
    torch_name = next(name for name, ours in TORCH_DTYPES.items() if ours == dtype)
    layout = Call(Name("torch.serialization", "_get_layout"), ("torch.strided",))
    contiguous = Call(_class("_MEM_FORMAT_ENCODING"), (0,))
    return New(_class("TensorProperties"), (Name("torch", torch_name), layout, False, contiguous, False))


def _index(key: str, offsets: tuple[int, ...] | None) -> New:
    offset = None if offsets is None else _size(offsets)
    return New(_class("MetadataIndex"), {"fqn": key, "index": None, "offset": offset})


def _stored(begin: int, length: int) -> New:
    state = {"relative_path": DATA, "offset": begin, "length": length, "transform_descriptors": None}
    return New(_class("_StorageInfo", "torch.distributed.checkpoint.filesystem"), state)
