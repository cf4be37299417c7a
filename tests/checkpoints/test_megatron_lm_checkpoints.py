"""Checkpoints that Megatron-LM trained and saved: its own logits, or a refusal (tests/data/megatron_lm/README.md)."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llamas import change_config, convert, export, same_tensors
from pretrain_llama.checkpoints import passport
from pretrain_llama.errors import PretrainError
from project import ROOT

SAVED = ROOT / "tests" / "data" / "megatron_lm"
EXACT = ["main_torch_dist_tp2", "torch_tp2", "torch_pp2_tied", "rope_factor_32"]


@pytest.fixture
def saved(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of one of the checkpoints, to be changed."""
    return shutil.copytree(SAVED / request.param, tmp_path / "saved")


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("saved", names, indirect=True)


@torch.no_grad()
def logits(folder: Path) -> np.ndarray:
    """Those of transformers in fp32, for the ids that Megatron-LM had: (batch, sequence, vocabulary)."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model(torch.from_numpy(np.load(SAVED / "ids.npy"))).logits.numpy()


@of(*EXACT)
def test_the_logits_are_those_that_megatron_lm_computed(saved: Path, tmp_path: Path) -> None:
    wanted = np.load(saved / "logits.npy")
    assert np.abs(wanted).max() > 1
    converted = convert(saved, tmp_path / "converted")
    back = export(converted, saved, tmp_path / "back")
    assert np.abs(logits(back) - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert same_tensors(export(saved, saved, tmp_path / "direct"), back)
    assert "accepted_arguments" not in passport.read(converted)["source"]


@of("torch_dist_dp2_optimizer")
def test_an_optimizer_is_passed_over_and_bf16_kept(saved: Path, tmp_path: Path) -> None:
    wanted = np.load(saved / "logits.npy")
    back = export(convert(saved, tmp_path / "converted"), saved, tmp_path / "back")
    found = logits(back)
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max(), "it computed in bf16"
    assert (found.argmax(-1) == wanted.argmax(-1)).mean() > 0.9
    assert passport.read(back)["dtypes"] == {"bf16": 21}


ANOTHER = {
    "heads": (
        {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16},
        "num_attention_heads: 4 in the chec",
    ),
    "key-value heads": ({"num_key_value_heads": 4}, "num_query_groups: 2 in the checkpoint, 4 by config.json"),
    "base": ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, "rotary_base: 10000 in the checkpoint"),
    "epsilon": ({"rms_norm_eps": 1e-6}, "layernorm_epsilon: 1e-05 in the checkpoint, 1e-06 by config.json"),
    "tied embeddings": ({"tie_word_embeddings": True}, "untie_embeddings_and_output_weights: True in the checkpoint"),
}


@pytest.mark.parametrize("case", ANOTHER)
@of("main_torch_dist_tp2", "torch_tp2")
def test_a_config_of_another_model_is_refused(saved: Path, tmp_path: Path, case: str) -> None:
    changes, message = ANOTHER[case]
    change_config(saved, **changes)
    with pytest.raises(PretrainError, match=re.escape(message)):
        convert(saved, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


@of("torch_pp2_tied")
def test_a_config_of_fewer_ids_than_were_trained_is_refused(saved: Path, tmp_path: Path) -> None:
    change_config(saved, vocab_size=32)
    with pytest.raises(PretrainError, match="padded_vocab_size: 64 in the checkpoint, a vocabulary of more than 32"):
        convert(saved, tmp_path / "converted")


@of("torch_pp2_tied", "torch_tp2")
def test_a_tied_output_layer_that_is_written_out_is_the_embedding(saved: Path, tmp_path: Path) -> None:
    change_config(saved, tie_word_embeddings=True)
    for path in saved.rglob("model_optim_rng.pt"):
        content = torch.load(path, weights_only=False)
        content["args"] = None  # which would tell
        if "output_layer.weight" in content["model"]:
            content["model"]["output_layer.weight"] = content["model"]["output_layer.weight"] + 1
        torch.save(content, path)
    message = r"tie_word_embeddings is true, but output_layer\.weight is not embedding\.word_embeddings\.weight"
    with pytest.raises(PretrainError, match=message):
        convert(saved, tmp_path / "converted")


@of("rope_factor_32")
def test_the_factor_that_was_asked_for_is_not_the_one_that_was_computed(saved: Path, tmp_path: Path) -> None:
    rope = json.loads((saved / "config.json").read_text())["rope_parameters"]
    change_config(saved, rope_parameters=rope | {"factor": 32.0})
    with pytest.raises(PretrainError, match=r"rope_scaling_factor: 8.0 in the checkpoint, 32.0 by config.json"):
        convert(saved, tmp_path / "converted")
    change_config(saved, rope_parameters={"rope_theta": 5e5, "rope_type": "default"})
    with pytest.raises(PretrainError, match=r"use_rope_scaling: True in the checkpoint, False by config.json"):
        convert(saved, tmp_path / "converted")


@of("no_rope_freq_window")
def test_layers_without_positions_and_a_window_are_refused_by_name(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainError, match="the checkpoint is of another model") as caught:
        convert(saved, tmp_path / "converted")
    assert "window_size: (8, 0) in the checkpoint" in str(caught.value)
    assert "no_rope_freq: 2 in the checkpoint" in str(caught.value)


@of("main_torch_dist_tp2")
def test_a_metadata_that_a_copy_left_behind_is_said_to_be_missing(saved: Path, tmp_path: Path) -> None:
    (saved / "iter_0000002" / ".metadata").unlink()
    with pytest.raises(PretrainError, match=r"without its \.metadata") as caught:
        convert(saved, tmp_path / "converted")
    assert "cp FOLDER/* leaves out" in str(caught.value) and "delete" not in str(caught.value)


@of("main_torch_dist_tp2", "torch_tp2")
def test_a_tracker_may_be_wrong_or_missing(saved: Path, tmp_path: Path) -> None:
    tracker = saved / "latest_checkpointed_iteration.txt"
    tracker.write_text("7")
    with pytest.raises(PretrainError, match="names iter_0000007, which is not there; there is iter_0000002"):
        convert(saved, tmp_path / "converted")
    tracker.unlink()
    with pytest.raises(PretrainError, match="which names the newest of iter_0000002"):
        convert(saved, tmp_path / "converted")
    shutil.copy(saved / "config.json", saved / "iter_0000002")
    convert(saved / "iter_0000002", tmp_path / "converted")


@of("main_torch_dist_tp2")
def test_what_else_a_folder_may_hold_is_said_as_what_it_is(saved: Path, tmp_path: Path) -> None:
    checkpoint = saved / "iter_0000002"
    (checkpoint / ".metadata").unlink()
    for content, message in [
        ('{"sharded_backend": "zarr", "sharded_backend_version": 1}', "has the format zarr, which is not read"),
        ('{"sharded_backend": "fsdp_dtensor"}', "has the format 'fsdp_dtensor', which is not read"),
    ]:
        (checkpoint / "metadata.json").write_text(content)
        with pytest.raises(PretrainError, match=message):
            convert(saved, tmp_path / "converted")
    (checkpoint / "metadata.json").unlink()
    for path in checkpoint.glob("*.distcp"):
        path.unlink()
    (checkpoint / "decoder.final_layernorm.weight").mkdir()
    (checkpoint / "decoder.final_layernorm.weight" / ".zarray").write_text("{}")
    with pytest.raises(PretrainError, match="has the format zarr"):
        convert(saved, tmp_path / "converted")
    shutil.rmtree(checkpoint / "decoder.final_layernorm.weight")
    (checkpoint / "consolidated.00.pth").touch()
    with pytest.raises(PretrainError, match=r"no weights: .*\n.*\n.*convert_llama_weights_to_hf"):
        convert(saved, tmp_path / "converted")
    shutil.rmtree(checkpoint)
    (saved / "latest_checkpointed_iteration.txt").unlink()
    with pytest.raises(PretrainError, match="no such folder"):
        export(saved / "iter_0000002", saved, tmp_path / "converted")
