"""estimate_run: its figures against real models, real checkpoints, and what autograd really keeps."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.configuration import load_run, validate
from pretrain_llama.estimate import memory, parameters
from pretrain_llama.estimate.run import estimate, kept_checkpoints
from project import Project, run_script
from trainings import Training

# Published configurations of meta-llama, what counts of them.
LLAMA_2_7B = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
LLAMA_2_7B |= {"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096}
LLAMA_32_1B = {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
LLAMA_32_1B |= {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True}
LLAMA_32_1B |= {"max_position_embeddings": 131072}
SMALL = Architecture(
    layers=4,
    hidden_size=128,
    feed_forward_size=352,
    heads=8,
    key_value_heads=4,
    head_size=16,
    vocab_size=512,
    max_positions=512,
    norm_epsilon=1e-5,
    rope_base=1e4,
    rope_scaling=None,
    tied=False,
)


def architecture(folder: Path, config: dict[str, Any]) -> Architecture:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "rms_norm_eps": 1e-5} | config))
    return read_architecture(folder)


def run_of(**parallel: Any) -> dict[str, Any]:
    """A run of 100 iterations, every default written out, with changed parallel sizes."""
    training = {"iterations": 100, "sequence_length_tokens": 256, "precision": "fp32", "learning_rate": 1e-3}
    training |= {"micro_batch_size_sequences": 2, "global_batch_size_sequences": 16}
    chosen = {"tokenizer": "t", "checkpoint": "c", "parallel": parallel, "training": training}
    return validate(chosen | {"operation": {"checkpoint_every_iterations": 30}}, "run", "a test")


@pytest.mark.parametrize("config", [LLAMA_2_7B, LLAMA_32_1B], ids=["llama-2-7b", "llama-3.2-1b"])
def test_parameters_are_those_of_transformers(tmp_path: Path, config: dict[str, Any]) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    a = architecture(tmp_path, config)
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**config))
    counted = parameters.count(a, a.vocab_size)
    assert sum(counted.values()) == sum(weight.numel() for weight in model.parameters())
    attention = sum(w.numel() for name, w in model.named_parameters() if "self_attn" in name)
    assert counted["attention"] == attention


def test_parallel_processes_hold_the_whole_model_between_them(tmp_path: Path) -> None:
    a = architecture(tmp_path, LLAMA_2_7B)
    whole = sum(parameters.count(a, 32000).values())
    assert parameters.on_outer_stages(a, 1, 1) == (whole, whole)
    half, _ = parameters.on_outer_stages(a, 2, 1)
    norms = parameters.count(a, 32000)["norms"]
    assert 2 * half - norms == whole, "norms are whole on both"
    assert sum(parameters.on_outer_stages(a, 1, 2)) == whole, "two stages"


@pytest.mark.parametrize(("length", "masked"), [(256, False), (512, True)])
def test_activations_are_what_autograd_keeps(length: int, masked: bool) -> None:
    """Of four layers in fp32 on a CPU, where no kernel joins several steps; the end of the model adds a little."""
    import torch

    from pretrain_llama.training.attention import document_mask
    from pretrain_llama.training.model import build_model, transformer_config
    from pretrain_llama.training.processes import process_groups, seed_everything

    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in weights:
            kept[place] = tensor
        return tensor

    with process_groups(1, 1, "a test"):
        seed_everything(1)
        model = build_model(SMALL, transformer_config(SMALL, "fp32"), length)
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        tokens = torch.randint(0, SMALL.vocab_size, (2, length))
        positions = torch.arange(length).expand(2, -1)
        mask = document_mask(positions // 100, torch.float32) if masked else None
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(tokens, positions, mask, labels=tokens)
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    run = run_of()
    run["training"] |= {"sequence_length_tokens": length, "reset_attention_mask": masked}
    estimated = memory.estimate(run, SMALL, fused=False)
    assert estimated["activations"] + estimated["logits"] == pytest.approx(real, rel=0.05)
    assert estimated["activations"] < real


def test_memory_falls_as_the_work_is_cut(tmp_path: Path) -> None:
    a = architecture(tmp_path, LLAMA_2_7B)
    one = memory.estimate(run_of(), a)
    assert sum(one[part] for part in ("weights", "gradients", "optimizer")) == 16 * 6_738_415_616
    eight = memory.estimate(run_of(data=8, distributed_optimizer=True), a)
    assert eight["optimizer"] == one["optimizer"] / 8 and eight["weights"] == one["weights"]
    kept = [memory.estimate(run_of(recompute=kind), a)["activations"] for kind in ("none", "selective", "full")]
    assert kept[0] > kept[1] > kept[2]
    cut = memory.estimate(run_of(tensor=2), a)["activations"]
    assert one["activations"] / 2 < cut < one["activations"], "norms are whole without sequence parallelism"
    assert memory.estimate(run_of(tensor=2, sequence=True), a)["activations"] == one["activations"] / 2
    stages = memory.estimate(run_of(pipeline=4), a)
    assert stages["activations"] == one["activations"], "a quarter of the layers, four micro batches at once"
    assert stages["logits"] == 0, "of the first stage, which is the fuller one"


def test_the_last_stage_can_be_the_fullest(tmp_path: Path) -> None:
    """Llama 3.2 1B has 128,256 ids: a micro batch's logits outweigh the activations of another one in flight."""
    a = architecture(tmp_path, LLAMA_32_1B)
    stages, last = memory.estimate(run_of(pipeline=2, recompute="full"), a), memory.estimate(run_of(), a)
    assert stages["logits"] == last["logits"] == 8 * 512 * 128256 / 2, "512 tokens, 4 bytes an id"
    assert stages["weights"] < last["weights"]


def test_checkpoints_are_as_large_as_estimated(built: Project) -> None:
    folder = built.folder / "results" / "runs" / "tiny"
    result = run_script("estimate_run.py", folder, "--json")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    saved = folder / "output" / "checkpoints"
    real = sum(path.stat().st_size for path in saved.rglob("iter_0000006/*"))
    assert figures["checkpoint_bytes"] == pytest.approx(real, rel=0.1)
    assert figures["checkpoints_kept"] == len(list(saved.glob("iter_*"))) == 3
    assert figures["tokens"] == 6 * 8 * 32
    assert figures["parameters"]["total"] == sum(n for part, n in figures["parameters"].items() if part != "total")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_checkpoints_of_the_distributed_optimizer_are_as_large_as_estimated(
    training: Training, tmp_path: Path, precision: str
) -> None:
    parallel = {"data": 2, "distributed_optimizer": True}
    copy = training.copied(tmp_path / "run", parallel=parallel, training={"precision": precision})
    copy.train()
    real = sum(path.stat().st_size for path in torch_dist.newest(copy.output / "checkpoints").iterdir())
    figures = estimate(load_run(copy.folder), read_architecture(copy.folder / "checkpoint"), "NVIDIA A100", 0.4)
    assert figures["checkpoint_bytes"] == pytest.approx(real, rel=0.1)


def test_kept_checkpoints_are_those_that_the_run_keeps() -> None:
    run = run_of()
    assert kept_checkpoints(run) == 4, "30, 60, 90, 100"
    run["operation"] |= {"keep_last_checkpoints": 2, "keep_every_iterations": 60}
    assert kept_checkpoints(run) == 3, "90 and 100, and 60"


def test_days_are_those_of_flops_peak_and_mfu(tmp_path: Path) -> None:
    a = architecture(tmp_path, LLAMA_2_7B)
    run = run_of(data=8)
    run["training"] |= {"iterations": 250_000, "sequence_length_tokens": 4096, "global_batch_size_sequences": 1024}
    assert estimate(run, a, "NVIDIA A100-SXM4-80GB", 0.5)["peak_flops"] == 19.5e12, "of fp32"
    run["training"]["precision"] = "bf16"
    figures = estimate(run, a, "NVIDIA A100-SXM4-80GB", 0.5)
    assert figures["tokens"] == 1_048_576_000_000
    assert figures["flops"] == pytest.approx(figures["tokens"] * (6 * 6.607e9 + 12 * 32 * 4096 * 4096), rel=1e-3)
    assert figures["days"] == pytest.approx(figures["flops"] / (8 * 0.5 * 312e12) / 86400)


def test_a_run_without_a_checkpoint_or_none_at_all_is_told_so(built: Project, tmp_path: Path) -> None:
    result = run_script("estimate_run.py", built.folder / "config" / "runs" / "tiny")
    assert result.returncode == 2
    assert "the run folder has no checkpoint" in result.stderr and "give --checkpoint" in result.stderr
    result = run_script("estimate_run.py", tmp_path / "none")
    assert result.returncode == 2
    assert f"no such file\n  where: {tmp_path}/none/run.yaml" in result.stderr


def test_the_table_reads_and_bad_options_are_refused(built: Project) -> None:
    folder = built.folder / "results" / "runs" / "tiny"
    result = run_script("estimate_run.py", folder, "--device", "NVIDIA A100", "--mfu", "0.45")
    assert result.returncode == 0, result.stderr
    assert re.search(r"^time +\d+\.\d\d days ", result.stdout, re.M)
    assert "1 x NVIDIA A100, 19.5 TFLOP/s in fp32, MFU 45% assumed" in result.stdout
    for options in (["--device", "abacus"], ["--mfu", "45"], ["--checkpoint", "nowhere"]):
        assert run_script("estimate_run.py", folder, *options).returncode == 2
    said = run_script("estimate_run.py", folder, "--mfu", "45").stderr
    assert "argument --mfu: '45' is no number above 0, at most 1" in said
