"""A run folder whose training has begun: it is not written again under a training, nor for another one unasked."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pretrain_llama.errors import OperatorError, PretrainError
from pretrain_llama.files import read_json, sha256, write_json
from pretrain_llama.provenance.writing import write_run_folder
from pretrain_llama.run import submissions
from pretrain_llama.run.folder import open_to_train
from pretrain_llama.run.history import History
from pretrain_llama.run.phases import Phase, check_change
from pretrain_llama.run.submissions import Submission
from project import Project, jsonl, run_script
from trainings import Training, copied_with_output, write_shard

ADDED = "fr_law_acts_split_0000"


class Written:
    """A trained run folder, and the parts that it was written of."""

    def __init__(self, training: Training, tmp_path: Path) -> None:
        self.original = training.folder
        self.training = copied_with_output(training, tmp_path / "run")
        self.folder, self.output = self.training.folder, self.training.output
        self.sources = shutil.copytree(training.folder.with_name("sources"), tmp_path / "sources")
        self.before = read_json(self.folder / "mixture" / "probabilities.json")["probabilities"]

    def choose(self, **changes: object) -> None:
        """Change keys of config/runs/<run>/run.yaml."""
        path = self.sources / "run" / "run.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))

    def mix(self, probabilities: dict[str, float]) -> None:
        """Compute another mixture, as `snakemake mixture` does."""
        self.training.change_mixture(probabilities=probabilities)

    def write(self) -> None:
        parts = [self.sources / part for part in ("run", "indexed", "validation")]
        (tokenizer,) = self.sources.glob("*/tokenizer.model")
        write_run_folder(*parts, tokenizer, self.sources / "checkpoint", [], self.folder)

    def refused(self) -> str:
        """Write the folder again, and be refused; return why."""
        before = hashes(self.folder)
        with pytest.raises(PretrainError) as caught:
            self.write()
        assert hashes(self.folder) == before, "the folder is as it was"
        return str(caught.value)


def hashes(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def written(training: Training, tmp_path: Path) -> Written:
    return Written(training, tmp_path)


def test_a_folder_is_written_again_where_nothing_changed(written: Written) -> None:
    written.write()
    assert "resumed at iteration 8" in written.training.train()


def test_a_folder_is_not_written_under_a_training(written: Written) -> None:
    with open(written.output / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = written.refused()
    assert "a training of this run goes on: its run folder cannot be written again under it" in said
    written.write()


def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """Put a squeue on PATH that says something."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / "squeue").write_text(f"#!/bin/sh\necho {says}\n")
    (tmp_path / "bin" / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.mark.parametrize("ended", ["", "COMPLETED", "NODE_FAIL"])
def test_a_folder_is_not_written_under_a_job(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    (written.output / "events.jsonl").unlink()  # the training noted no end
    submissions.record(written.output, Submission("slurm", "4711", "slurm-4711.log"))
    for state in ("PENDING", "SIGNALING", "STOPPED", "RESIZING"):
        squeue(tmp_path, monkeypatch, state)
        assert f"job 4711 of this run goes on, {state}: its run folder cannot be written again" in written.refused()
    squeue(tmp_path, monkeypatch, ended)
    written.write()


def test_a_job_that_nobody_can_ask_for_is_not_taken_for_ended(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZUREML_WORKSPACE_NAME", raising=False)
    (written.output / "events.jsonl").unlink()
    submissions.record(written.output, Submission("azureml", "brave_lamp", "https://ml.azure.com/runs/brave_lamp"))
    said = written.refused()
    assert "nobody here knows whether job brave_lamp" in said and "if it has ended, remove its line there" in said
    History(written.output).note("finished", iteration=8)
    written.write()


def test_a_changed_run_is_refused_before_its_folder_is_written(written: Written) -> None:
    written.mix(dict(zip(written.before, [0.7, 0.2, 0.1], strict=True)))
    said = written.refused()
    assert "the run changed since its training began:\n    mixture: " in said
    assert "to keep this run as it is, leave it out of `runs` in config.yaml" in said


def test_new_shards_are_named_to_be_excluded(written: Written) -> None:
    added = write_shard(written.sources / "indexed", ADDED, [[1, *range(10, 200), 2]] * 8)
    written.mix(dict.fromkeys((*written.before, added), 0.25))
    said = written.refused()
    assert f'to keep this run as it is, add the new shards to its exclude_iterator.json, "{ADDED}", or leave' in said


def test_a_change_of_all_shards_is_told_in_a_screen(tmp_path: Path) -> None:
    """As another held_out_fraction makes it: other counts of every shard, under another identity of the tokenizer."""
    before, now = (
        {
            "training": {"seed": 1},
            "tokenizer": f"toy.0000000{side}",
            "checkpoint": "same",
            "mixture": dict.fromkeys(names, 0.001),
            "data": {name: {"idx": "f" * 64, "bin": "e" * 64} for name in names},
        }
        for side in (1, 2)
        for names in [[f"en_web_c4_split_{n:04d}_text_document_dc={side}_sc={side}_tc=9" for n in range(1000)]]
    )
    phases, said = [Phase(0, 0, {}, before)], {}
    for on_change in ("refuse", "new_phase"):
        with pytest.raises(OperatorError) as caught:
            check_change(phases, now, on_change, tmp_path)
        said[on_change] = str(caught.value)
        assert len(said[on_change]) < 2500
        assert "f" * 64 not in said[on_change]
        assert (
            "one name of two tokenizers: another model, prepend_bos, append_eos or held_out_fraction" in said[on_change]
        )
        assert "split_0000_text_document_dc=1_sc=1_tc=9: gone; " in said[on_change]
        assert "data: " in said[on_change]
        assert "split_0000_text_document_dc=2_sc=2_tc=9: new, 0.001; " in said[on_change]
    assert "restart begins again" in said["refuse"] and "new_phase" not in said["refuse"], "it would be refused"
    assert "and 996 more changed:" in said["new_phase"]


def test_a_phase_that_cannot_begin_is_refused_before_its_folder_is_written(written: Written) -> None:
    training = yaml.safe_load((written.folder / "run.yaml").read_text())["training"]
    written.choose(on_change="new_phase", training=training | {"iterations": 14})
    written.mix(dict(zip(written.before, [0.7, 0.2, 0.1], strict=True)))
    written.write()
    run = yaml.safe_load((written.sources / "run" / "run.yaml").read_text())
    written.choose(training=run["training"] | {"seed": 5})
    assert "no new phase can begin where seed changed" in written.refused()


def test_a_phase_with_nothing_to_train_is_refused_before_its_folder_is_written(written: Written) -> None:
    """It would be by the training, too, but then a finished run is one that is not."""
    written.choose(on_change="new_phase")
    written.mix(dict(zip(written.before, [0.7, 0.2, 0.1], strict=True)))
    said = written.refused()
    assert "a new phase of a training that has done 8 iterations cannot end at 8" in said
    assert f"where: {written.sources / 'run' / 'run.yaml'}: training" in said


@pytest.mark.parametrize("on_change", ["new_phase", "restart"])
def test_a_mixture_that_was_only_looked_at_is_not_trained(written: Written, on_change: str) -> None:
    written.training.change(on_change=on_change, training={"iterations": 14})
    written.mix(dict(zip(written.before, [0.7, 0.2, 0.1], strict=True)))
    printed = written.training.refused()
    assert "the mixture was computed again, or edited, since the run folder was written with it" in printed
    assert len(read_json(written.output / "phases.json")) == 1
    assert not written.output.with_name("output_before_change_1").exists()


def test_a_finished_run_is_not_submitted_again(written: Written) -> None:
    (written.output / "finished.json").unlink()
    assert run_script("submit_training.py", written.folder, "--launcher", "slurm").returncode == 0
    assert read_json(written.output / "finished.json") == read_json(written.original / "output" / "finished.json")
    written.training.change(training={"iterations": 9})
    result = run_script("launch_training.py", written.folder)
    assert result.returncode == 2 and "iterations: 8 -> 9" in result.stderr


def test_the_old_mixture_is_put_back_as_the_error_says(built: Project, tmp_path: Path) -> None:
    folder = built.copied_run(tmp_path / "run")
    mixture = folder / "mixture" / "probabilities.json"
    write_json(mixture, read_json(mixture) | {"probabilities": {}})
    with pytest.raises(OperatorError) as caught:
        open_to_train(folder)
    command = str(caught.value).partition(f"or, without Snakemake, in {folder}: ")[2]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], cwd=folder, env=os.environ | {"PATH": path}, check=True)
    assert open_to_train(folder).probabilities


def rewrite(folder: Path) -> None:
    """Give a folder another identity, as writing it again would."""
    manifest = read_json(folder / "manifest.json")
    manifest["identity"]["mixture"] = {"another": 1.0}
    write_json(folder / "manifest.json", manifest)


def test_a_training_whose_folder_became_another_is_not_finished(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", training={"iterations": 300})
    started = copy.start()
    started.wait_for(lambda: History(copy.output).events("saved"))
    rewrite(copy.folder)
    code, printed = started.wait()
    assert code == 2 and "the run folder was written again while it was trained" in printed, printed
    assert not (copy.output / "finished.json").exists() and not History(copy.output).events("finished")


def test_a_refused_change_costs_a_finished_run_nothing(copy: Project) -> None:
    folder = copy.folder / "results" / "runs" / "tiny"
    trained = ("output/finished.json", "output/events.jsonl", "output/log.jsonl", "output/phases.json")
    kept = ("manifest.json", "run.yaml", *trained)
    before, data = {name: (folder / name).read_bytes() for name in kept}, sorted((folder / "data").iterdir())
    copy.run["on_change"] = "refuse"
    copy.save()
    copy.choose("lang_prob.json", {"en": 0.5, "ar": 0.5})
    copy.vendor("en_books_tales/b.jsonl", jsonl([f"A new tale, of {n} ships." for n in range(20)]))
    for _ in range(2):
        result = copy.snakemake()
        said = result.stdout + result.stderr
        assert result.returncode != 0 and "the run changed since its training began" in said, said
        assert 'add the new shards to its exclude_iterator.json, "en_books_tales_split_0003"' in said
        assert {name: (folder / name).read_bytes() for name in kept} == before
        assert sorted((folder / "data").iterdir()) == data

    copy.choose("lang_prob.json", json.loads((folder / "sources" / "lang_prob.json").read_text()))
    copy.choose("exclude_iterator.json", {"exclude_iterator_name": ["en_books_tales_split_0003"]})
    result = copy.snakemake()
    said = result.stdout + result.stderr
    assert result.returncode == 0 and "trained to its end before, iteration 6, and unchanged since" in said, said
    assert {name: (folder / name).read_bytes() for name in trained} == {name: before[name] for name in trained}
    assert copy.pending() == {}


def test_what_was_trained_on_something_else_is_not_verified(written: Written) -> None:
    rewrite(written.folder)
    result = run_script("verify_run.py", written.folder)
    assert result.returncode == 1
    assert "output/ was trained on something else than this folder has:\n    mixture: " in result.stdout
