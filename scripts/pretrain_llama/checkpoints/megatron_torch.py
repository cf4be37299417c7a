"""Read Megatron-LM's older checkpoints, format `torch`: where the weights of a Llama lie in them.

    iter_0005000/mp_rank_{tensor:02d}[_{pipeline:03d}]/model_optim_rng.pt

Each file holds the state dictionary of one tensor and pipeline parallel process: its share of each weight, layers
counted from 0 in each pipeline stage. Its names are those of megatron-core's layers, with or without Transformer
Engine, or of the layers that Megatron-LM had before.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import mapping, torch_files
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.argument_check import check_args
from pretrain_llama.checkpoints.copying import same_rows
from pretrain_llama.checkpoints.mapping import Part, Weight
from pretrain_llama.checkpoints.tensors import ITEM_BYTES, Region, Spec
from pretrain_llama.checkpoints.torch_dist import CHECKPOINT_VERSION
from pretrain_llama.checkpoints.torch_files import StoredTensor
from pretrain_llama.errors import ConfigError, OperatorError, shortened, shown

FILE = "model_optim_rng.pt"
_FOLDER = re.compile(r"mp_rank_(\d{2})(?:_(\d{3}))?")
# What a name is called in other versions, and in the table of mapping.py.
_RENAMED = (
    (r"^language_model\.(encoder|transformer)\.", "decoder."),
    (r"^language_model\.(embedding|output_layer)\.", r"\1."),
    (r"\bfinal_norm\.", "final_layernorm."),
    (r"\bself_attention\.query_key_value\.", "self_attention.linear_qkv."),
    (r"\bself_attention\.dense\.", "self_attention.linear_proj."),
    (r"\bmlp\.dense_h_to_4h\.", "mlp.linear_fc1."),
    (r"\bmlp\.dense_4h_to_h\.", "mlp.linear_fc2."),
    (r"\binput_(layer)?norm\.weight$", "self_attention.linear_qkv.layer_norm_weight"),
    (
        r"\b(post_attention_norm|post_attention_layernorm|pre_mlp_layernorm)\.weight$",
        "mlp.linear_fc1.layer_norm_weight",
    ),
)
# No weights: fp8 scales, rotary frequencies, and the copy of tied embeddings in the last pipeline stage.
_PASSED_OVER = re.compile(r"\._extra_state$|\binv_freq$|^word_embeddings_for_head\.")

WeightOfLayer = tuple[Weight, int | None]  # a weight, and its layer in the whole model


def is_checkpoint(folder: Path) -> bool:
    """Say whether a folder holds a checkpoint of this format."""
    return any(_FOLDER.fullmatch(path.name) for path in folder.glob("mp_rank_*"))


class MegatronTorchTensors:
    """The weights in a checkpoint of Megatron-LM's format `torch`, by Hugging Face name; see `Tensors`.

    Attributes:
        accepted: the arguments that a person takes the responsibility for, with their values; see `check_args`.
        has_arguments: Megatron-LM's lie with the weights.
    """

    def __init__(self, checkpoint: Path, architecture: Architecture, accepted: Collection[str] = frozenset()) -> None:
        """Find the weights in the files of all processes.

        Args:
            checkpoint: the folder.
            architecture: of the model.
            accepted: names of arguments that a person takes the responsibility for.

        Raises:
            OperatorError: files are missing or damaged, or do not fit together.
            ConfigError: it is of another architecture, or of a layout that is not read.
        """
        self.location, self._architecture = checkpoint, architecture
        self.accepted: Mapping[str, str] = {}
        self.has_arguments = True
        files = _files(checkpoint)
        self._tensor_parallel = 1 + max(tensor for tensor, _ in files)
        self._shares: dict[WeightOfLayer, list[StoredTensor]] = {}  # of each tensor parallel process
        for tensor in range(self._tensor_parallel):
            layers = 0
            for pipeline in range(1 + max(pipeline for _, pipeline in files)):
                layers += self._take(files[tensor, pipeline], layers, accepted)
            if layers != architecture.layers:
                raise self._misfit(f"{layers} layers, {architecture.layers} by config.json")
        parts = {part.name: part for part in mapping.parts(architecture)}
        rows = self._of(mapping.EMBEDDING, None)[0].shape[:1]
        self.padded_vocab_size = sum(rows) * self._tensor_parallel
        if self.padded_vocab_size < architecture.vocab_size:
            raise self._misfit(f"{self.padded_vocab_size} ids, {architecture.vocab_size} by config.json")
        self.specs = {name: self._spec(part) for name, part in parts.items()}
        self._regions = {name: mapping.regions_of(part, self._regions_of(part)) for name, part in parts.items()}
        if architecture.tied and (mapping.OUTPUT, None) in self._shares:
            self._check_tied(parts[mapping.EMBEDDING.huggingface[0]])

    def regions(self, name: str) -> list[Region]:
        """Return where a tensor lies."""
        return self._regions[name]

    def _take(self, path: Path, first_layer: int, accepted: Collection[str]) -> int:
        """Take the weights of one process; return how many layers it has."""
        content = torch_files.load(path)
        if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
            raise ConfigError(
                "no state dictionary under 'model'",
                where=path,
                action="use a checkpoint without virtual pipeline stages; Megatron-LM's tools/checkpoint rewrites it",
            )
        if content.get("checkpoint_version") != CHECKPOINT_VERSION:
            raise ConfigError(
                f"checkpoint_version {shown(content.get('checkpoint_version'))} is not {CHECKPOINT_VERSION}, the order "
                "of query, key and value is another",
                where=path,
                action="load and save it with a Megatron-LM of 2021 or later",
            )
        arguments = content.get("args")
        self.has_arguments &= arguments is not None
        self.accepted = {**self.accepted, **check_args(arguments, self._architecture, path, accepted)}
        layers = set()
        for name, stored in _flat(content["model"]).items():
            if not _PASSED_OVER.search(name):
                weight, layer = self._named(name, path)
                layers.add(layer)
                key = weight, None if layer is None else first_layer + layer
                self._shares.setdefault(key, []).append(stored)
        return len(layers - {None})

    def _named(self, name: str, path: Path) -> WeightOfLayer:
        """Return the weight of a name, and its layer in the pipeline stage."""
        for pattern, renamed in _RENAMED:
            name = re.sub(pattern, renamed, name)
        layer = re.match(r"decoder\.layers\.(\d{1,9})\.", name)
        weights = mapping.LAYER if layer else (mapping.EMBEDDING, mapping.FINAL_NORM, mapping.OUTPUT)
        for weight in weights:
            if weight.megatron == name[layer.end() if layer else 0 :]:
                return weight, int(layer[1]) if layer else None
        raise ConfigError(
            f"weight {shortened(name)} is not a Llama's", where=path, action="use a Llama without biases or adapters"
        )

    def _of(self, weight: Weight, layer: int | None) -> list[StoredTensor]:
        """Return the share of each tensor parallel process of a weight."""
        shares = self._shares.get((weight, layer), [])
        if len(shares) != self._tensor_parallel:
            name = weight.megatron if layer is None else f"{weight.megatron} of layer {layer}"
            raise self._misfit(f"{len(shares)} of {self._tensor_parallel} processes hold {name}")
        return shares

    def _spec(self, part: Part) -> Spec:
        """Return a tensor's dtype and shape, once its shares fit."""
        shape = mapping.megatron_shape(part.weight, self._architecture, self.padded_vocab_size)
        shares = self._of(part.weight, part.layer)
        for stored in shares:
            joined = [
                size * self._tensor_parallel if axis == part.weight.shared else size
                for axis, size in enumerate(stored.shape)
            ]
            if tuple(joined) != shape:
                raise self._misfit(f"{part.weight.megatron} has shape {tuple(joined)}, {shape} by config.json")
            if stored.dtype not in ITEM_BYTES or stored.dtype != shares[0].dtype:
                raise self._misfit(f"{part.weight.megatron} is not of one dtype of {', '.join(ITEM_BYTES)}")
            torch_files.check_rows(stored, part.weight.megatron)
        return Spec(shares[0].dtype, part.shape)

    def _regions_of(self, part: Part) -> list[Region]:
        """Return where a weight lies; gate and up are each shared."""
        weight, regions = part.weight, []
        halves = len(weight.huggingface) if weight is mapping.GATE_UP else 1
        shares = self._of(weight, part.layer)
        for process, stored in enumerate(shares if weight.shared is not None else shares[:1]):
            spec = Spec(stored.dtype, stored.shape)
            stride = stored.strides[0] * ITEM_BYTES[stored.dtype] if len(stored.shape) > 1 else spec.row_bytes
            rows = spec.rows // halves
            for half in range(halves):
                row = (half * self._tensor_parallel + process) * rows if weight.shared == 0 else 0
                column = process * spec.row_bytes if weight.shared == 1 else 0
                offset = stored.offset + half * rows * stride
                regions.append(Region(row, rows, column, spec.row_bytes, stored.path, offset, stride))
        return regions

    def _check_tied(self, embedding: Part) -> None:
        """Check that an output layer that is written out, as the last of several stages has it, is the embedding."""
        output = replace(embedding, weight=mapping.OUTPUT)
        spec = self._spec(embedding)
        if self._spec(output) != spec or not same_rows(spec, self._regions_of(embedding), self._regions_of(output)):
            raise ConfigError(
                f"tie_word_embeddings is true, but {mapping.OUTPUT.megatron} is not {mapping.EMBEDDING.megatron}",
                where=self.location,
                action="set tie_word_embeddings to false in config.json, if the model computes with both",
            )

    def _misfit(self, problem: str) -> OperatorError:
        return OperatorError(
            problem, where=self.location, action="fetch the whole checkpoint again, or give the config.json that it has"
        )


def _files(checkpoint: Path) -> dict[tuple[int, int], Path]:
    """Return the file of each tensor and pipeline parallel process."""
    files = {}
    for folder in checkpoint.glob("mp_rank_*"):
        match = _FOLDER.fullmatch(folder.name)
        if match is None:
            raise ConfigError(
                f"{folder.name} is of another layout, such as experts'",
                where=checkpoint,
                action="use a checkpoint that is shared over tensor and pipeline parallel processes only",
            )
        files[int(match[1]), int(match[2] or 0)] = folder / FILE
    tensor_parallel, pipeline_parallel = (1 + max(numbers) for numbers in zip(*files, strict=True))
    grid = product(range(tensor_parallel), range(pipeline_parallel))
    missing = [ranks for ranks in grid if ranks not in files or not files[ranks].exists()]
    if missing:
        shown = ", ".join(f"tensor {tensor} pipeline {pipeline}" for tensor, pipeline in missing)
        raise OperatorError(
            f"{FILE} of some processes is missing: {shown}", where=checkpoint, action="fetch the whole checkpoint"
        )
    return files


def _flat(nested: dict[str, Any]) -> dict[str, StoredTensor]:
    """Return the tensors of nested state dictionaries, names joined by dots; of one that is there twice, the last."""
    flat: dict[str, StoredTensor] = {}
    left, taken = [("", nested)], set()
    while left:
        prefix, part = left.pop()
        taken.add(id(part))
        for key, value in part.items():
            if isinstance(value, StoredTensor):
                flat[f"{prefix}{key}"] = value
            elif isinstance(value, dict) and id(value) not in taken:
                left.append((f"{prefix}{key}.", value))
    return flat
