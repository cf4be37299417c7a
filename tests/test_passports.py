"""Passports and verifications: what a checkpoint is, and that it still is; and exports, which ask for it."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from llamas import change_config, change_tensors, convert, make_llama, same_tensors, set_config, tensors_of
from pretrain_llama.checkpoints import passport
from pretrain_llama.checkpoints.verification import verify_padding
from pretrain_llama.errors import PretrainError
from pretrain_llama.files import read_json, sha256
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
    assert passport.read(converted)["verification"] == verification
    run_folder = built.folder / "results" / "runs" / "tiny" / "checkpoint"
    assert passport.read(run_folder)["verification"] == verification, "the run folder carries it along"


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
    "another dtype": (change_recorded, "model.norm.weight: .*'bf16'.* -> .*'fp32'"),
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
    passport.check(converted, tensor_parallel=1)
    change(converted)
    with pytest.raises(PretrainError, match=message):
        passport.check(converted, tensor_parallel=1)


def test_a_checkpoint_padded_for_another_size_is_refused(tmp_path: Path, source: Path) -> None:
    converted = convert(source, tmp_path / "converted", multiple=64)
    passport.check(converted, tensor_parallel=1)
    with pytest.raises(PretrainError, match=r"padded vocabulary: 320 -> 384 as the model is built"):
        passport.check(converted, tensor_parallel=2)


def export_run(folder: Path, output: Path, *args: object) -> Result:
    return run_script("export_checkpoint.py", "--run-folder", folder, "--output", output, *args)


def test_any_iteration_of_a_run_is_exported(copy: Project) -> None:
    run = copy.folder / "results" / "runs" / "tiny"
    assert copy.pending("results/runs/tiny/export/4") == {"export_checkpoint": 1}
    result = copy.snakemake("results/runs/tiny/export/4", "results/runs/tiny/export/2")
    assert result.returncode == 0, result.stdout + result.stderr
    folders = [run / "export" / name for name in ("2", "4", "final")]
    assert not same_tensors(folders[0], folders[1])
    assert not same_tensors(folders[1], folders[2])
    recorded = passport.read(folders[2])
    assert recorded["source"]["files"][".metadata"] == sha256(
        run / "output" / "checkpoints" / "iter_0000006" / ".metadata"
    )
    assert "padding" not in recorded
    tokenizers = [(folder / "tokenizer.model").read_bytes() for folder in (folders[2], run)]
    assert tokenizers[0] == tokenizers[1]
    AutoModelForCausalLM.from_pretrained(folders[0])

    result = export_run(run, copy.folder / "out", "--iteration", 3)
    assert result.returncode == 2
    assert "no checkpoint of iteration 3" in result.stderr
    assert "choose one of 2, 4, 6" in result.stderr

    change_config(run / "checkpoint", rms_norm_eps=1e-6)
    result = export_run(run, copy.folder / "out")
    assert result.returncode == 2
    assert "config.json: norm_epsilon: 1e-05 -> 1e-06" in result.stderr
    assert not (copy.folder / "out").exists()


def test_export_needs_a_whole_checkpoint_of_the_same_model(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "checkpoint")

    def refused(*args: object) -> str:
        result = export_run(tmp_path, tmp_path / "back", *args)
        assert result.returncode == 2
        assert not (tmp_path / "back").exists()
        return result.stderr

    assert "the run has no checkpoint" in refused()
    checkpoints = tmp_path / "output" / "checkpoints"
    shutil.copytree(tmp_path / "checkpoint", checkpoints)
    (checkpoints / "release" / ".metadata").unlink()
    assert "no whole torch_dist checkpoint" in refused()
    (checkpoints / "release" / ".metadata").write_bytes(b"no pickle")
    assert "no whole torch_dist checkpoint" in refused()
    larger = make_llama(tmp_path / "larger", num_hidden_layers=3)
    shutil.rmtree(checkpoints)
    convert(larger, checkpoints)
    assert "has shape (3, 64), (2, 64) expected" in refused()
    assert run_script("export_checkpoint.py", "--checkpoint", tmp_path, "--output", tmp_path).returncode == 2
