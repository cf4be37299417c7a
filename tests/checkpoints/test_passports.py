"""Passports and verifications: what a checkpoint is, and that it still is."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import compare_logits
import verify_checkpoint
from llamas import change_config, change_tensors, convert, export, make_llama, set_config, tensors_of
from pretrain_llama.checkpoints import mapping, passport, torch_dist
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.logits_memory import available_bytes, comparison_bytes
from pretrain_llama.checkpoints.tensors import Spec
from pretrain_llama.checkpoints.torch_dist_layout import TorchDistLayout
from pretrain_llama.checkpoints.verification import verify_padding
from pretrain_llama.errors import PretrainError
from pretrain_llama.files import read_json, sha256
from pretrain_llama.training import logits
from pretrain_llama.training.processes import process_groups
from project import Project, Result, run_script


def verify(source: Path, checkpoint: Path, output: Path) -> Result:
    return run_script("verify_checkpoint.py", "--source", source, "--checkpoint", checkpoint, "--output", output)


def test_a_verification_compares_tensors_padding_and_logits(built: Project) -> None:
    converted = built.folder / "results" / "checkpoints" / "toy-llama_tp=1_pp=1"
    verification = read_json(converted.with_name(f"{converted.name}.verification.json"))
    assert verification["tensors"] == len(passport.read(converted)["tensors"])
    assert verification["padding_rows"] == 512 - 400
    assert [(each["tensor"], each["pipeline"]) for each in verification["logits"]] == [(1, 1), (2, 1), (1, 2)]
    assert all(each["largest_difference"] <= 1e-5 for each in verification["logits"])
    assert verification["skipped"] == []
    assert passport.read(converted)["verification"] == verification
    run_folder = built.folder / "results" / "runs" / "tiny" / "checkpoint"
    assert passport.read(run_folder)["verification"] == verification, "the run folder carries it along"


def test_a_checkpoint_that_was_converted_again_is_verified_again(tmp_path: Path, source: Path, monkeypatch) -> None:
    output = tmp_path / "converted.verification.json"
    monkeypatch.setattr(verify_checkpoint, "available_bytes", lambda: 0)
    paths = ["--source", source, "--checkpoint", tmp_path / "converted", "--output", output]
    monkeypatch.setattr(sys, "argv", ["verify_checkpoint.py", *map(str, paths)])
    for tensor in (1, 2):
        converted = convert(source, tmp_path / "converted", tensor=tensor, multiple=96)
        verify_checkpoint.main()
        assert read_json(output)["conversion"] == sha256(converted / "conversion.json")
    change_tensors(source, lm_head__weight=tensors_of(source)["lm_head.weight"] * 2)
    with pytest.raises(PretrainError, match="1 of 21 tensors are not those of"):
        verify_checkpoint.main()
    assert not output.exists(), "an earlier success does not stay for what failed"


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.k_proj.weight", "model.layers.1.input_layernorm.weight"])
def test_a_verification_notices_one_weight(tmp_path: Path, source: Path, name: str) -> None:
    converted = convert(source, tmp_path / "converted")
    change_tensors(source, **{name.replace(".", "__"): tensors_of(source)[name] * 1.01})
    result = verify(source, converted, tmp_path / "verification.json")
    assert result.returncode == 2
    assert f"1 of 21 tensors are not those of {source}: {name}" in result.stderr
    assert not (tmp_path / "verification.json").exists()


def test_a_verification_notices_padding_that_is_not_what_it_should_be(tmp_path: Path, source: Path) -> None:
    converted = convert(source, tmp_path / "converted")
    path = converted / "conversion.json"
    path.write_text(path.read_text().replace('"rows": "mean"', '"rows": "zero"'))
    with pytest.raises(PretrainError, match=r"rows of lm_head.weight from 300 on are not the zero"):
        verify_padding(converted)


def test_logits_that_differ_are_refused(tmp_path: Path, source: Path) -> None:
    """Bit for bit the same weights, but a computation that is another."""
    converted = convert(source, tmp_path / "converted")
    change_config(source, rms_norm_eps=1e-3)
    paths = ["--source", source, "--checkpoint", converted, "--output", tmp_path / "logits.json"]
    result = run_script("compare_logits.py", *paths)
    assert result.returncode == 2
    assert "fp32, tensor 1 x pipeline 1: by up to" in result.stderr
    assert not (tmp_path / "logits.json").exists()


def change_recorded(folder: Path) -> None:
    path = folder / "conversion.json"
    recorded = read_json(path)
    recorded["tensors"]["model.norm.weight"]["dtype"] = "bf16"
    path.write_text(json.dumps(recorded))


def verify_another(folder: Path) -> None:
    (folder / "verification.json").write_text('{"conversion": "of another"}')


def cut_weights(folder: Path) -> None:
    path = folder / "release" / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-1])


MISMATCHES = {
    "another epsilon": (set_config(rms_norm_eps=1e-6), "config.json: norm_epsilon: 1e-05 -> 1e-06"),
    "another base of the rotary frequencies": (
        set_config(rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
        r"config.json: rope_base: 10000.0 -> 500000.0",
    ),
    "another dtype": (change_recorded, "'model.norm.weight': .*'bf16'.* -> .*'fp32'"),
    "a verification of another conversion": (verify_another, "verification: of another conversion"),
    "weights cut short": (cut_weights, r"release/__0_0.distcp: [\d,]+ bytes -> [\d,]+"),
    "weights that are missing": (
        lambda folder: (folder / "release" / "__0_0.distcp").unlink(),
        r"release/__0_0.distcp: [\d,]+ bytes -> 0",
    ),
    "no passport": (lambda folder: (folder / "conversion.json").unlink(), "no passport\n"),
    "a passport of another version": (
        lambda folder: (folder / "conversion.json").write_text('{"version": 0}'),
        "no passport of this version",
    ),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_checkpoint_that_is_not_what_its_passport_says_is_refused(tmp_path: Path, source: Path, case: str) -> None:
    change, message = MISMATCHES[case]
    converted = convert(source, tmp_path / "converted")
    passport.check(converted)
    change(converted)
    with pytest.raises(PretrainError, match=message):
        passport.check(converted)


# Says what torch would find, in place of torch, which takes seconds.
NO_TORCH = """
import os, sys
class Torch:
    def find_spec(name, *_):
        if name == "torch":
            sys.exit(f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r}")
sys.meta_path.insert(0, Torch)
"""


def test_logits_are_compared_on_the_cpu_whatever_gpus_there_are(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_TORCH)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    paths = ["--source", tmp_path, "--checkpoint", tmp_path, "--output", tmp_path / "logits.json"]
    assert run_script("compare_logits.py", *paths).stderr == "CUDA_VISIBLE_DEVICES=''\n"


def test_an_exported_folder_is_no_megatron_checkpoint(tmp_path: Path, source: Path) -> None:
    back = export(convert(source, tmp_path / "converted"), source, tmp_path / "back")
    result = verify(source, back, tmp_path / "verification.json")
    assert result.returncode == 2
    assert "no Megatron checkpoint: its conversion.json is that of a Hugging Face folder" in result.stderr


def test_a_model_that_cannot_be_cut_says_on_what_it_was_not_compared(source: Path, capsys) -> None:
    architecture = replace(read_architecture(source), layers=3, key_value_heads=1)
    found = logits.layouts(architecture, processes=2)
    assert found == {
        (1, 1): None,
        (2, 1): "1 key-value heads cannot be cut into 2 equal parts",
        (1, 2): "3 layers cannot be cut into 2 equal parts",
    }
    skipped = [{"tensor": t, "pipeline": p, "why": why} for (t, p), why in found.items() if why]
    unclear = {"tensor": 1, "pipeline": 1, "precision": "bf16", "clear": 0}
    compare_logits.warn({"skipped": skipped, "logits": [unclear, unclear | {"precision": "fp32", "clear": 256}]})
    assert capsys.readouterr().err.splitlines() == [
        "warning: not compared on tensor 2 x pipeline 1: 1 key-value heads cannot be cut into 2 equal parts",
        "warning: not compared on tensor 1 x pipeline 2: 3 layers cannot be cut into 2 equal parts",
        f"warning: tensor 1 x pipeline 1, bf16: {compare_logits.NOT_CLEAR}",
    ]


def test_bf16_may_differ_as_far_as_sharp_attention_drives_it(tmp_path: Path) -> None:
    """Where transformers' own logits in bf16 are far off those in fp32, another computation's may be, too."""
    source = make_llama(tmp_path / "source", dtype="bfloat16")
    projections = {name: tensor for name, tensor in tensors_of(source).items() if "q_proj" in name or "k_proj" in name}
    change_tensors(source, **{name.replace(".", "__"): tensor * 3 for name, tensor in projections.items()})
    converted = convert(source, tmp_path / "converted")
    with process_groups(1, 1, "a test"):
        result = logits.compare_layouts(source, converted, 1e-5)
    assert result
    assert [(each["precision"], each["passed"]) for each in result["logits"]] == [("fp32", True), ("bf16", True)]
    compared = result["logits"][1]
    assert compared["allowed"] < 0.1 * result["largest_logit"], "far less than another model's logits differ"
    assert compared["clear"] > 100


def test_where_no_position_is_clear_nothing_is_said_of_them() -> None:
    flat = torch.zeros(1, 2, 5)
    compared = logits.compare(flat, flat, flat, precision="bf16", tensor=1, pipeline=1, allowed=0.1)
    assert (compared.clear, compared.clear_agreement, compared.passed) == (0, None, True)
    shifted = logits.compare(flat, flat + 0.2, flat, precision="bf16", tensor=1, pipeline=1, allowed=0.1)
    assert not shifted.passed


def test_without_the_memory_for_logits_the_tensors_alone_are_verified(
    tmp_path: Path, source: Path, monkeypatch, capsys
):
    converted, output = convert(source, tmp_path / "converted"), tmp_path / "verification.json"
    monkeypatch.setattr(verify_checkpoint, "available_bytes", lambda: 1 << 30)
    paths = ["--source", source, "--checkpoint", converted, "--output", output]
    monkeypatch.setattr(sys, "argv", ["verify_checkpoint.py", *map(str, paths)])
    verify_checkpoint.main()
    why = "needs 1.6 GiB, 1.0 GiB there"
    verification = read_json(output)
    assert (verification["logits"], verification["logits_skipped"]) == ([], why)
    assert (verification["tensors"], verification["padding_rows"]) == (21, 84)
    assert f"warning: every tensor is the source's, but logits are not compared: {why}" in capsys.readouterr().err


# The kernel's peak of this program alone: ru_maxrss begins with that of the process that started it.
MEASURE = r"""
import re, sys
from pathlib import Path
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.training import logits
from pretrain_llama.training.processes import process_groups

folder = Path(sys.argv[1])
architecture = read_architecture(folder)
with process_groups(1, 1, "a test"):
    logits.megatron_logits(folder, architecture, "fp32", logits.probe_tokens(architecture), 1, 1)
print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def test_a_comparison_takes_no_more_memory_than_is_said(tmp_path: Path, source: Path) -> None:
    """Of a model whose feed-forward is most of it; its checkpoint is a file of holes, which are zeros."""
    shutil.copy(source / "config.json", tmp_path)
    change_config(tmp_path, hidden_size=1024, intermediate_size=16384, head_dim=64)
    architecture = read_architecture(tmp_path)
    specs = {part.name: Spec("fp32", part.shape) for part in mapping.parts(architecture)}
    (tmp_path / "release").mkdir()
    TorchDistLayout(tmp_path / "release", specs, architecture, 1, 1).write_frame()
    torch_dist.write_tracker(tmp_path, "release")
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    taken = int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    said = comparison_bytes(architecture, 1)
    assert 0.7 * said < taken <= said


def test_memory_is_what_is_free_within_the_limits_of_the_group(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) == math.inf
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  5000 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text("4:memory:/job/step\n3:cpuset:/\n0::/job/step\n")
    assert available_bytes(tmp_path) == 5000 * 1024
    for path, limit in [
        ("sys/fs/cgroup/job/memory.max", 4_000_000),
        ("sys/fs/cgroup/job/step/memory.max", "max"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", 3_000_000),
    ]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{limit}\n")
        assert available_bytes(tmp_path) == min(4_000_000, limit if isinstance(limit, int) else 4_000_000)
    assert available_bytes() > 1 << 20
