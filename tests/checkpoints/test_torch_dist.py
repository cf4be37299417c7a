"""Megatron's torch_dist checkpoints, as others write them: chunks of any size; what is not known is refused."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch
from megatron.core import dist_checkpointing
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter, save

from llamas import change_config, convert, export, load_plain, make_llama, same_tensors
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.conversion import to_megatron
from pretrain_llama.checkpoints.torch_dist import newest
from pretrain_llama.errors import PretrainError
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.processes import process_groups
from pretrain_llama.training.state import load_weights

LLAMA_31 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def save_plainly(tensors: dict[str, torch.Tensor], checkpoint: Path) -> Path:
    """Save tensors as torch itself does: a chunk each, with all layers in it."""
    save(tensors, storage_writer=FileSystemWriter(checkpoint), no_dist=True)
    return checkpoint


def test_a_chunk_may_hold_many_layers(tmp_path: Path, source: Path) -> None:
    tensors = load_plain(convert(source, tmp_path / "converted"))
    assert tensors["decoder.layers.mlp.linear_fc1.weight"].shape == (2, 352, 64)
    plain = save_plainly(tensors, tmp_path / "plain")
    assert same_tensors(source, export(plain, source, tmp_path / "back"))


def test_gate_and_up_may_have_a_name_each(tmp_path: Path, source: Path) -> None:
    """As megatron-core saves with singleton_local_shards, which release candidates of 0.15 and main did for a while."""
    converted, saved = convert(source, tmp_path / "converted"), tmp_path / "saved"
    saved.mkdir()
    architecture = read_architecture(source)
    with process_groups(1, 1, "a test"):
        model = build_model(architecture, transformer_config(architecture, "fp32"), 128)
        load_weights(model, newest(converted), architecture.vocab_size)
        dist_checkpointing.save(
            {"model": model.sharded_state_dict(metadata={"singleton_local_shards": True})}, str(saved)
        )
    names = FileSystemReader(saved).read_metadata().state_dict_metadata
    assert {f"decoder.layers.1.mlp.linear_fc1.weight_{part}" for part in "wv"} < names.keys()
    assert same_tensors(source, export(saved, source, tmp_path / "back"))
    metadata = pickle.loads((saved / ".metadata").read_bytes())
    del metadata.state_dict_metadata["decoder.layers.1.mlp.linear_fc1.weight_v"]
    (saved / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(PretrainError, match=r"no weight decoder.layers.1.mlp.linear_fc1.weight_v; there are"):
        export(saved, source, tmp_path / "again")


def add_bias(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.layers.mlp.linear_fc2.bias"] = torch.zeros(2, 64)


def double(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.final_layernorm.weight"] = tensors["decoder.final_layernorm.weight"].double()


def add_prediction(tensors: dict[str, torch.Tensor]) -> None:
    tensors["mtp.layers.0.eh_proj.weight"] = torch.zeros(64, 128)


PLAIN = {
    "further predictions": (add_prediction, "1 weights are not a Llama's: mtp.layers.0.eh_proj.weight"),
    "a bias": (add_bias, "1 weights are not a Llama's: decoder.layers.mlp.linear_fc2.bias"),
    "a wrong dtype": (double, "decoder.final_layernorm.weight has dtype float64, not one of fp32, fp16, bf16"),
    "a missing weight": (
        lambda tensors: tensors.pop("output_layer.weight"),
        r"no weight output_layer.weight; there are decoder.final_layernorm.weight, ",
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_megatron_weights_that_are_not_known_are_refused(tmp_path: Path, source: Path, case: str) -> None:
    change, message = PLAIN[case]
    tensors = load_plain(convert(source, tmp_path / "converted"))
    change(tensors)
    with pytest.raises(PretrainError, match=message):
        export(save_plainly(tensors, tmp_path / "plain"), source, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_megatron_checkpoints_that_are_not_whole_are_refused(tmp_path: Path, source: Path) -> None:
    converted = convert(source, tmp_path / "converted")
    data = converted / "release" / "__0_0.distcp"
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    with pytest.raises(PretrainError, match="no file of torch"):
        export(converted, source, tmp_path / "back")
    data.unlink()
    with pytest.raises(PretrainError, match="a file is missing"):
        export(converted, source, tmp_path / "back")
    convert(source, converted)
    metadata = pickle.loads((converted / "release" / ".metadata").read_bytes())
    kept = dict(metadata.storage_data)
    chunks = metadata.state_dict_metadata["decoder.layers.mlp.linear_fc1.weight"].chunks
    lost = next(index for index in metadata.storage_data if index.fqn.endswith("fc1.weight"))
    del metadata.storage_data[lost]
    assert len(chunks) == 4, "gate and up of two layers"
    (converted / "release" / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(PretrainError, match=r"chunks of decoder.layers.mlp.linear_fc1.weight are missing"):
        export(converted, source, tmp_path / "back")
    metadata.storage_data = {index: place for index, place in kept.items() if index.fqn != "output_layer.weight"}
    (converted / "release" / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(PretrainError, match=r"chunks of output_layer.weight are missing"):
        export(converted, source, tmp_path / "back")


def test_a_chunk_that_does_not_lie_in_rows_is_refused(tmp_path: Path, source: Path) -> None:
    """torch.save keeps the strides of what it is given, and a square weight has the right shape with either."""
    tensors = load_plain(convert(source, tmp_path / "converted"))
    plain = save_plainly(tensors, tmp_path / "plain")
    metadata = pickle.loads((plain / ".metadata").read_bytes())
    key = "decoder.layers.self_attention.linear_proj.weight"
    place = next(place for index, place in metadata.storage_data.items() if index.fqn == key)
    place.relative_path, place.offset = "transposed", 0
    torch.save(tensors[key].transpose(1, 2), plain / "transposed")
    place.length = (plain / "transposed").stat().st_size
    (plain / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(PretrainError, match=rf"{key} has strides \(4096, 1, 64\) for shape \(2, 64, 64\)"):
        export(plain, source, tmp_path / "back")


def test_megatron_lm_finds_its_arguments(tmp_path: Path, source: Path) -> None:
    """Its loader looks at the parallel sizes among them; --use-checkpoint-args takes the rest."""
    converted = tmp_path / "converted"
    to_megatron(source, converted, 2, 2, 128, "mean")
    common = torch.load(converted / "release" / "common.pt", weights_only=False)
    assert (common["checkpoint_version"], common["iteration"]) == (3.0, 0)
    kept = vars(common["args"])
    assert (kept["tensor_model_parallel_size"], kept["pipeline_model_parallel_size"]) == (2, 2)
    assert (kept["num_layers"], kept["num_query_groups"], kept["padded_vocab_size"]) == (2, 4, 512)
    assert same_tensors(source, export(converted, source, tmp_path / "back"))


def test_arguments_that_megatron_lm_kept_must_fit(tmp_path: Path, source: Path) -> None:
    converted = convert(source, tmp_path / "converted")
    kept = {"args": argparse.Namespace(num_layers=3, rotary_percent=0.5), "checkpoint_version": 3.0}
    torch.save(kept, converted / "release" / "common.pt")
    with pytest.raises(PretrainError, match="the checkpoint is of another model") as caught:
        export(converted, source, tmp_path / "back")
    assert "num_layers: 3 in the checkpoint, 2 by config.json" in str(caught.value)
    assert "rotary_percent: 0.5 in the checkpoint, 1.0 by config.json" in str(caught.value)


def test_rotary_scaling_that_megatron_lm_fixes_must_be_the_configs(tmp_path: Path, capsys) -> None:
    """It computes with Llama 3.1's, whatever it is told; what is converted here keeps all four."""
    source = make_llama(tmp_path / "source", "llama31", shards="5GB")
    converted = convert(source, tmp_path / "converted")
    said = capsys.readouterr().err
    assert "rope_scaling_factor: 4.0 -> 8.0; rope_scaling_low_freq_factor: 2.0 -> 1.0; rope_scaling_high_freq" in said
    assert "Its arguments are not written into the folders of runs that start from this checkpoint" in said
    assert same_tensors(source, export(converted, source, tmp_path / "back"))

    args = argparse.Namespace(use_rope_scaling=True, rope_scaling_factor=4.0)
    torch.save({"args": args}, converted / "release" / "common.pt")
    with pytest.raises(PretrainError, match=r"rope_scaling_low_freq_factor: 1.0 in the checkpoint, 2.0 by config.json"):
        export(converted, source, tmp_path / "again")
    change_config(source, rope_parameters=LLAMA_31)
    convert(source, tmp_path / "real")
    assert "warning" not in capsys.readouterr().err
    export(converted, source, tmp_path / "again")
    change_config(source, rope_parameters=LLAMA_31 | {"factor": 4.0})
    with pytest.raises(PretrainError, match=r"rope_scaling_factor: 8.0 in the checkpoint, 4.0 by config.json"):
        export(converted, source, tmp_path / "again")
