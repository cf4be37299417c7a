"""Checkpoints: the same logits, the same weights after a round trip, and what does not fit is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from project import run_script

KINDS = {
    "llama2": {"tie_word_embeddings": False},
    "llama3": {
        "tie_word_embeddings": False,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "tied, with heads of their own size": {"tie_word_embeddings": True, "head_dim": 24},
}


def make_llama(folder: Path, **settings: object) -> Path:
    """Save a tiny Llama whose weights are far from their initial sizes, so that every one of them matters."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        **settings,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            parameter.data.mul_(3)
    model.save_pretrained(folder)
    return folder


def convert(huggingface: Path, output: Path, *args: object):
    return run_script("convert_checkpoint.py", "--huggingface", huggingface, "--output", output, *args)


def verify(huggingface: Path, checkpoint: Path, output: Path):
    paths = ["--huggingface", huggingface, "--checkpoint", checkpoint, "--output", output]
    return run_script("verify_checkpoint.py", *paths)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_round_trip(tmp_path: Path, kind: str) -> None:
    huggingface = make_llama(tmp_path / "huggingface", **KINDS[kind])
    run_folder = tmp_path / "run"
    result = convert(huggingface, run_folder / "checkpoint", "--tensor-parallel", 2)
    assert result.returncode == 0, result.stderr
    assert json.loads((run_folder / "checkpoint" / "conversion.json").read_text())["padded_vocab_size"] == 512

    result = verify(huggingface, run_folder / "checkpoint", tmp_path / "verification.json")
    assert result.returncode == 0, result.stderr
    verification = json.loads((tmp_path / "verification.json").read_text())
    assert verification["largest_difference"] <= 1e-5
    assert verification["largest_logit"] > 1, "the comparison is not vacuous"

    shutil.copytree(run_folder / "checkpoint", run_folder / "output" / "checkpoints")
    (run_folder / "tokenizer.model").write_bytes(b"any")
    result = run_script("export_checkpoint.py", "--run-folder", run_folder, "--output", tmp_path / "back")
    assert result.returncode == 0, result.stderr
    before, after = load_file(huggingface / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "back" / "tokenizer.model").exists()
    LlamaForCausalLM.from_pretrained(tmp_path / "back")


@pytest.mark.parametrize("layer_weight", ["self_attn.k_proj", "mlp.up_proj", "input_layernorm"])
def test_verification_notices_one_weight(tmp_path: Path, layer_weight: str) -> None:
    huggingface = make_llama(tmp_path / "huggingface")
    assert convert(huggingface, tmp_path / "checkpoint").returncode == 0
    path = huggingface / "model.safetensors"
    tensors = load_file(path)
    tensors[f"model.layers.1.{layer_weight}.weight"] *= 1.01
    save_file(tensors, path, {"format": "pt"})
    result = verify(huggingface, tmp_path / "checkpoint", tmp_path / "verification.json")
    assert result.returncode == 2
    assert "the logits differ by up to" in result.stderr
    assert not (tmp_path / "verification.json").exists()


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    huggingface = make_llama(tmp_path / "huggingface")
    path = huggingface / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}, path, {"format": "pt"})
    result = convert(huggingface, tmp_path / "checkpoint")
    assert result.returncode == 2
    assert "1 tensors are not a Llama's: model.layers.0.self_attn.q_proj.bias" in result.stderr
    assert not (tmp_path / "checkpoint" / "conversion.json").exists()

    del tensors["model.norm.weight"]
    save_file(tensors, path, {"format": "pt"})
    result = convert(huggingface, tmp_path / "checkpoint")
    assert result.returncode == 2
    assert "tensor 'model.norm.weight' is missing" in result.stderr

    path.unlink()
    result = convert(huggingface, tmp_path / "checkpoint")
    assert result.returncode == 2
    assert "no *.safetensors" in result.stderr


def test_sizes_that_do_not_divide_are_refused(tmp_path: Path, llama: Path) -> None:
    result = convert(llama, tmp_path / "checkpoint", "--tensor-parallel", 3)
    assert result.returncode == 2
    assert "8 attention heads cannot be cut into 3 equal parts" in result.stderr


def test_export_needs_a_whole_checkpoint_of_the_same_model(tmp_path: Path, llama: Path) -> None:
    assert convert(llama, tmp_path / "checkpoint").returncode == 0
    (tmp_path / "tokenizer.model").write_bytes(b"any")

    def export() -> str:
        result = run_script("export_checkpoint.py", "--run-folder", tmp_path, "--output", tmp_path / "back")
        assert result.returncode == 2
        assert not (tmp_path / "back").exists()
        return result.stderr

    assert "the run has no checkpoint" in export()
    checkpoints = tmp_path / "output" / "checkpoints"
    shutil.copytree(tmp_path / "checkpoint", checkpoints)
    config = json.loads((llama / "config.json").read_text())
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert "has shape (2, 64), (3, 64) expected" in export()
    (checkpoints / "release" / ".metadata").unlink()
    assert "no whole torch_dist checkpoint" in export()
