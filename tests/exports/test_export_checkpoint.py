"""Exports of Megatron checkpoints: of any iteration of a run, or of any checkpoint."""

import shutil
from pathlib import Path

import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

from llamas import change_config, convert, make_llama, same_tensors
from pretrain_llama.checkpoints import passport
from pretrain_llama.exports.agreement import is_same
from pretrain_llama.files import sha256
from pretrain_llama.tokenization.indexed import IndexedReader
from project import SHARD, Project, Result, run_script


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
    AutoModelForCausalLM.from_pretrained(folders[0])
    assert is_same(recorded["tokenizer"]["compared"]) and recorded["tokenizer"]["compared"]["texts"] > 10_000
    tokenizer = AutoTokenizer.from_pretrained(folders[2])
    told = {(*tokenizer(f"A tale of {n} ships, and of the sea.").input_ids, tokenizer.eos_token_id) for n in range(300)}
    (idx,) = (run / "data").glob(f"{SHARD}_*.idx")
    pair = IndexedReader(idx.with_suffix(""))
    documents = {tuple(ids.tolist()) for ids in np.split(pair.tokens_array, np.cumsum(pair.lengths)[:-1])}
    assert documents <= told and len(documents) > 50, "the ids that were trained on"

    (run / "output" / "checkpoints" / "iter_0000003_damaged_1").mkdir()
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
    assert "a torch_dist checkpoint without its .metadata" in refused()
    (checkpoints / "release" / ".metadata").write_bytes(b"no pickle")
    assert "no whole torch_dist checkpoint" in refused()
    larger = make_llama(tmp_path / "larger", num_hidden_layers=3)
    shutil.rmtree(checkpoints)
    convert(larger, checkpoints)
    assert "has shape (3, 64), (2, 64) expected" in refused()
    assert run_script("export_checkpoint.py", "--checkpoint", tmp_path, "--output", tmp_path).returncode == 2


def test_a_run_folder_of_an_earlier_version_is_written_again(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "checkpoint")
    convert(source, tmp_path / "output" / "checkpoints")
    result = export_run(tmp_path, tmp_path / "back")
    assert result.returncode == 2
    assert "the run folder has no config and tokenizer for exports" in result.stderr
    assert f"snakemake results/runs/{tmp_path.name}/manifest.json --forcerun write_run_folder" in result.stderr


def test_a_trained_checkpoint_is_exported_like_the_model_that_it_began_as(copy: Project, llama: Path) -> None:
    """With fewer ids, the rows of the others would be taken for padding, and cut."""
    smaller = shutil.copytree(llama, copy.folder / "smaller")
    change_config(smaller, vocab_size=390)
    checkpoints = copy.folder / "results" / "runs" / "tiny" / "output" / "checkpoints"
    for checkpoint in (checkpoints, checkpoints / "iter_0000004"):
        paths = ["--checkpoint", checkpoint, "--output", copy.folder / "back", "--like"]
        result = run_script("export_checkpoint.py", *paths, smaller)
        assert result.returncode == 2
        assert f"{smaller}/config.json: vocab_size: 400 -> 390" in result.stderr
        assert run_script("export_checkpoint.py", *paths, llama).returncode == 0


def test_a_converted_checkpoint_is_exported_like_the_model_that_it_is(tmp_path: Path, source: Path) -> None:
    converted = convert(source, tmp_path / "converted", multiple=64)  # padding is no part of the model
    other = shutil.copytree(source, tmp_path / "other")
    change_config(other, rms_norm_eps=1e-6)

    def export_like(like: Path, checkpoint: Path) -> Result:
        paths = ["--checkpoint", checkpoint, "--like", like, "--output", tmp_path / "back"]
        return run_script("export_checkpoint.py", *paths)

    for checkpoint in (converted, converted / "release"):
        result = export_like(other, checkpoint)
        assert result.returncode == 2
        assert f"{other}/config.json: norm_epsilon: 1e-05 -> 1e-06" in result.stderr
    assert export_like(source, converted).returncode == 0
    (converted / "conversion.json").write_text('{"version": 0}')
    assert "no passport of this version" in export_like(source, converted).stderr
