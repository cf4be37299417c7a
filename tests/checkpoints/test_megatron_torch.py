"""Megatron-LM's older checkpoints, mp_rank_XX: joined from what each process held, and nothing in them is executed."""

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llamas import convert, export, make_llama, same_tensors, tensors_of
from pretrain_llama.checkpoints import torch_files
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.checkpoints.tensors import Spec
from pretrain_llama.errors import PretrainError

TENSOR, PIPELINE, PADDED = 2, 2, 384


def args_of_2023(a: Architecture) -> argparse.Namespace:
    """Arguments as a Megatron-LM of 2023 kept them: without a rotary base, with names that changed since."""
    return argparse.Namespace(
        num_layers=a.layers,
        hidden_size=a.hidden_size,
        ffn_hidden_size=a.feed_forward_size,
        num_attention_heads=a.heads,
        num_query_groups=a.key_value_heads,
        group_query_attention=True,
        layernorm_epsilon=a.norm_epsilon,
        position_embedding_type="learned_absolute",
        use_rotary_position_embeddings=True,
        swiglu=True,
    )


def share_of(tensors: dict[str, torch.Tensor], a: Architecture, tensor: int, pipeline: int) -> dict[str, Any]:
    """The model of one process, as the layers of 2023 named it, cut by hand from Hugging Face tensors."""

    def columns(name: str) -> torch.Tensor:  # a view, of which torch.save keeps the whole
        return tensors[name].chunk(TENSOR, dim=1)[tensor]

    def rows(whole: torch.Tensor) -> torch.Tensor:
        return whole.chunk(TENSOR)[tensor].clone()

    def padded(name: str) -> torch.Tensor:
        return rows(torch.cat([tensors[name], torch.full_like(tensors[name][: PADDED - a.vocab_size], 7.0)]))

    def layer(number: int, own: int) -> dict[str, torch.Tensor]:
        theirs, ours = f"model.layers.{number}.", f"layers.{own}."
        query, key, value = (
            tensors[f"{theirs}self_attn.{letter}_proj.weight"].split(heads * a.head_size // a.key_value_heads)
            for letter, heads in [("q", a.heads), ("k", a.key_value_heads), ("v", a.key_value_heads)]
        )
        groups = [torch.cat(group) for group in zip(query, key, value, strict=True)]
        gate, up = rows(tensors[theirs + "mlp.gate_proj.weight"]), rows(tensors[theirs + "mlp.up_proj.weight"])
        return {
            f"{ours}input_norm.weight": tensors[theirs + "input_layernorm.weight"],
            f"{ours}self_attention.query_key_value.weight": rows(torch.cat(groups)),
            f"{ours}self_attention.dense.weight": columns(theirs + "self_attn.o_proj.weight"),
            f"{ours}post_attention_norm.weight": tensors[theirs + "post_attention_layernorm.weight"],
            f"{ours}mlp.dense_h_to_4h.weight": torch.cat([gate, up]),
            f"{ours}mlp.dense_4h_to_h.weight": columns(theirs + "mlp.down_proj.weight"),
        }

    a_stage = a.layers // PIPELINE
    layers = {}
    for own in range(a_stage):
        layers |= layer(pipeline * a_stage + own, own)
    model: dict[str, Any] = {"encoder": layers}
    if pipeline == 0:
        model["embedding"] = {"word_embeddings": {"weight": padded("model.embed_tokens.weight")}}
    if pipeline == PIPELINE - 1:
        layers["final_norm.weight"] = tensors["model.norm.weight"]
        model["output_layer"] = {"weight": padded("lm_head.weight")}
    return {"language_model": model}


def file_of(checkpoints: Path, tensor: int, pipeline: int) -> Path:
    return checkpoints / "iter_0000100" / f"mp_rank_{tensor:02d}_{pipeline:03d}" / "model_optim_rng.pt"


@pytest.fixture(scope="module")
def llama4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 4 layers."""
    return make_llama(tmp_path_factory.mktemp("llama4") / "source", num_hidden_layers=4, dtype="bfloat16")


@pytest.fixture
def older(tmp_path: Path, llama4: Path) -> Path:
    """Its checkpoint as a Megatron-LM of 2023 wrote it, of 2 tensor x 2 pipeline parallel processes."""
    architecture, tensors = read_architecture(llama4), tensors_of(llama4)
    for tensor in range(TENSOR):
        for pipeline in range(PIPELINE):
            path = file_of(tmp_path / "older", tensor, pipeline)
            path.parent.mkdir(parents=True)
            content = {"args": args_of_2023(architecture), "checkpoint_version": 3.0, "iteration": 100}
            torch.save(content | {"model": share_of(tensors, architecture, tensor, pipeline)}, path)
    (tmp_path / "older" / "latest_checkpointed_iteration.txt").write_text("100")
    return tmp_path / "older"


def test_the_shares_of_all_processes_are_joined(older: Path, llama4: Path, tmp_path: Path) -> None:
    assert same_tensors(llama4, export(older, llama4, tmp_path / "back"))
    shutil.copy(llama4 / "config.json", older)
    assert same_tensors(llama4, export(convert(older, tmp_path / "newer"), llama4, tmp_path / "again"))


def test_one_checkpoint_may_be_named_and_release_is_one(older: Path, llama4: Path, tmp_path: Path) -> None:
    assert same_tensors(llama4, export(older / "iter_0000100", llama4, tmp_path / "back"))
    (older / "iter_0000100").rename(older / "release")
    (older / "latest_checkpointed_iteration.txt").write_text("release")
    assert same_tensors(llama4, export(older, llama4, tmp_path / "again"))


class Sabotage:
    """What a pickle may ask of whoever loads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self._path),)


def test_nothing_in_a_checkpoint_is_executed(older: Path, llama4: Path, tmp_path: Path) -> None:
    path = file_of(older, 0, 0)
    content = torch.load(path, weights_only=False)
    torch.save(content | {"rng_state": [Sabotage(tmp_path / "executed")]}, path)
    assert same_tensors(llama4, export(older, llama4, tmp_path / "back"))
    assert not (tmp_path / "executed").exists()
    with pytest.raises(FileExistsError):  # it would have been
        (tmp_path / "executed").mkdir()
        torch.load(path, weights_only=False)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change what one process saved."""

    def apply(older: Path) -> None:
        path = file_of(older, 1, 0)
        content = torch.load(path, weights_only=False)
        change(content)
        torch.save(content, path)

    return apply


def set_argument(name: str, value: object) -> Callable[[Path], None]:
    return changed(lambda content: setattr(content["args"], name, value))


def encoder(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    return content["model"]["language_model"]["encoder"]


def transposed() -> torch.Tensor:
    return torch.zeros(32, 64, dtype=torch.bfloat16).t()


def repeated() -> torch.Tensor:
    return torch.zeros(1, 32, dtype=torch.bfloat16).expand(64, 32)


def rename_folder(older: Path) -> None:
    (older / "iter_0000100" / "mp_rank_01_001").rename(older / "iter_0000100" / "mp_rank_01_001_001")


REFUSED = {
    "a file is missing": (
        lambda older: file_of(older, 1, 1).unlink(),
        "model_optim_rng.pt of some processes is missing: tensor 1 pipeline 1",
    ),
    "a folder is missing": (
        lambda older: shutil.rmtree(file_of(older, 1, 1).parent),
        "of some processes is missing: tensor 1 pipeline 1",
    ),
    "all folders of a tensor parallel process are missing": (
        lambda older: [shutil.rmtree(file_of(older, 0, pipeline).parent) for pipeline in (0, 1)],
        "of some processes is missing: tensor 0 pipeline 0, tensor 0 pipeline 1",
    ),
    "experts": (rename_folder, "mp_rank_01_001_001 is of another layout"),
    "a file is cut short": (
        lambda older: file_of(older, 0, 1).write_bytes(file_of(older, 0, 1).read_bytes()[:-1000]),
        "no file of torch.save",
    ),
    "virtual pipeline stages": (
        changed(lambda content: content.update(model0=content.pop("model"))),
        "no state dictionary under 'model'",
    ),
    "another order of query, key and value": (
        changed(lambda content: content.update(checkpoint_version=2.0)),
        "checkpoint_version 2.0 is not 3.0",
    ),
    "a bias": (
        changed(lambda content: encoder(content).update({"layers.0.self_attention.dense.bias": torch.zeros(64)})),
        r"weight decoder.layers.0.self_attention.linear_proj.bias is not a Llama's",
    ),
    "a missing weight": (
        changed(lambda content: encoder(content).pop("layers.1.mlp.dense_4h_to_h.weight")),
        "1 of 2 processes hold mlp.linear_fc2.weight of layer 1",
    ),
    "a layer too few": (
        changed(lambda content: [encoder(content).pop(key) for key in list(encoder(content)) if "layers.1" in key]),
        "3 layers, 4 by config.json",
    ),
    "a wrong shape": (
        changed(lambda content: encoder(content).update({"layers.0.input_norm.weight": torch.ones(32)})),
        r"layer_norm_weight has shape \(32,\), \(64,\) by config.json",
    ),
    "a wrong dtype": (
        changed(lambda content: encoder(content).update({"layers.0.input_norm.weight": torch.ones(64).double()})),
        "layer_norm_weight is not of one dtype of fp32, fp16, bf16",
    ),
    "a transposed weight": (
        changed(lambda content: encoder(content).update({"layers.0.self_attention.dense.weight": transposed()})),
        r"self_attention.linear_proj.weight has strides \(1, 64\) for shape \(64, 32\): it does not lie in rows",
    ),
    "a repeated row": (
        changed(lambda content: encoder(content).update({"layers.0.self_attention.dense.weight": repeated()})),
        r"self_attention.linear_proj.weight has strides \(0, 1\)",
    ),
    "another epsilon": (
        set_argument("layernorm_epsilon", 1e-6),
        "layernorm_epsilon: 1e-06 in the checkpoint, 1e-05 by config.json",
    ),
    "another number of groups": (set_argument("num_query_groups", 8), "num_query_groups: 8 in the checkpoint, 4"),
    "no groups": (
        set_argument("group_query_attention", False),
        "group_query_attention: False in the checkpoint, True by config.json",
    ),
    "another activation": (set_argument("swiglu", False), "swiglu: False in the checkpoint, True by config.json"),
    "another base of the rotary frequencies": (set_argument("rotary_base", 500000), "rotary_base: 500000 in the"),
    "no RMSNorm": (set_argument("normalization", "LayerNorm"), "normalization: LayerNorm in the checkpoint"),
    "no such checkpoint": (
        lambda older: (older / "latest_checkpointed_iteration.txt").write_text("200"),
        "it names iter_0000200, which is not there; there is iter_0000100",
    ),
    "a tracker that names none": (
        lambda older: (older / "latest_checkpointed_iteration.txt").write_text("newest"),
        "'newest' names no iteration",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_or_not_whole_is_refused(older: Path, llama4: Path, tmp_path: Path, case: str) -> None:
    change, message = REFUSED[case]
    change(older)
    with pytest.raises(PretrainError, match=message):
        export(older, llama4, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_file_of_before_torch_1_6_is_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.ones(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(PretrainError, match="load and save it with torch"):
        torch_files.load(tmp_path / "old.pt")


def test_torch_loads_an_envelope_of_more_than_4_gib(tmp_path: Path) -> None:
    """Its sizes do not fit into 32 bits any more; the file is sparse."""
    spec = Spec("bf16", (5 << 20, 512))
    head, tail = torch_files.envelope(spec)
    path = tmp_path / "large.pt"
    with open(path, "wb") as file:
        file.write(head)
        file.seek(spec.bytes - 2, os.SEEK_CUR)
        file.write(b"\x80\x3f" + tail)
    loaded = torch.load(path, mmap=True, weights_only=True)
    assert loaded.shape == spec.shape
    assert loaded.dtype == torch.bfloat16
    assert loaded[-1, -1] == 1
    assert torch_files.load(path).offset == len(head)
