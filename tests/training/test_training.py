"""Trainings as a user starts them, and everything that is refused before one begins."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pairs import write_pair
from pretrain_llama.errors import ConfigError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.run.log_file import read_log
from processes import wait_for
from project import SCRIPTS, Project
from trainings import WAIT_SECONDS, Training, copied_with_output, start

LAUNCH = [sys.executable, str(SCRIPTS / "launch_training.py")]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_the_folder_alone_reproduces_the_run(copy: Project, tmp_path: Path) -> None:
    original = copy.folder / "results" / "runs" / "tiny"
    losses = [record["loss"] for record in read_log(original / "output")]
    assert len(losses) == 6 and losses[-1] < losses[0] - 0.1, "it learns, or the comparison says nothing"
    moved = tmp_path / "elsewhere"
    shutil.copytree(original, moved, ignore=shutil.ignore_patterns("output"))
    shutil.rmtree(copy.folder)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    result = subprocess.run(["bash", str(moved / "launch.sh")], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [record["loss"] for record in read_log(moved / "output")] == losses
    finished = read_json(moved / "output" / "finished.json")
    assert finished == {"iteration": 6, "checkpoint": "output/checkpoints/iter_0000006"}


def test_the_manifest_says_what_the_run_was_made_from(built: Project) -> None:
    folder = built.folder / "results" / "runs" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["identity"].keys() == {"training", "tokenizer", "checkpoint", "mixture", "data"}
    assert {"run.yaml", "tokenizer.model", "sources/config.yaml", "sources/corpora.tsv"} <= manifest["files"].keys()
    assert manifest["versions"]["megatron-core"] == "0.19.2"
    data = {path.name for path in (folder / "data").iterdir()}
    assert data == {f"{name}{suffix}" for name in manifest["identity"]["mixture"] for suffix in (".bin", ".idx")}


def test_two_processes_end_with_their_launcher_and_torchrun_resumes(training: Training, tmp_path: Path) -> None:
    straight, copy = (training.copied(tmp_path / name, training={"iterations": 100}) for name in ("straight", "run"))
    straight.train()
    copy.change(parallel={"data": 2}, operation={"checkpoint_every_iterations": 1000})
    launcher = subprocess.Popen([*LAUNCH, str(copy.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(read_log(copy.output)) >= 3, WAIT_SECONDS)
    launcher.kill()
    launcher.wait()
    wait_for((copy.output / "continue.json").exists, WAIT_SECONDS)  # the kernel has told them, and they saved and ended
    command = [*TORCHRUN, str(SCRIPTS / "train.py"), str(copy.folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "resumed at iteration" in result.stdout
    # Two processes add in another order, from an iteration on that the machine's load decides: 1.4e-5 was seen.
    assert copy.losses() == pytest.approx(straight.losses(), abs=1e-4)


def test_a_refusal_is_the_last_message_of_two_processes(training: Training, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "run", training={"iterations": 9}, parallel={"data": 2})
    result = subprocess.run([*LAUNCH, str(copy.folder)], capture_output=True, text=True)
    assert result.returncode == 2
    banners = re.findall(r"^\w+ error: .*", result.stderr, re.M)
    assert banners == ["operation error: the run changed since its training began:"], result.stderr


def test_half_an_environment_of_a_launcher_is_refused(training: Training) -> None:
    command = [sys.executable, str(SCRIPTS / "train.py"), str(training.folder)]
    result = subprocess.run(command, env=os.environ | {"RANK": "0"}, capture_output=True, text=True)
    assert result.returncode == 2
    assert "WORLD_SIZE is not set" in result.stderr and "RANK=0" in result.stderr


def lose_the_manifest(copy: Training) -> None:
    (copy.folder / "manifest.json").unlink()


def swap_the_tokenizer(copy: Training) -> None:
    (copy.folder / "tokenizer.model").write_bytes(b"another")


def mix_for_another_tokenizer(copy: Training) -> None:
    copy.mix(read_json(copy.folder / "mixture" / "probabilities.json")["probabilities"], tokenizer="other.01234567")


def compute_another_mixture(copy: Training) -> None:
    copy.change_mixture(probabilities={})


def lose_the_mixture(copy: Training) -> None:
    (copy.folder / "mixture" / "probabilities.json").unlink()


def cut_a_shard_short(copy: Training) -> None:
    path = next((copy.folder / "data").glob("en_*.bin"))
    content = path.read_bytes()
    path.unlink()  # it has other names
    path.write_bytes(content[:-2])


def lose_a_shard(copy: Training) -> None:
    next((copy.folder / "data").glob("*.idx")).unlink()


def cut_a_validation_set_short(copy: Training) -> None:
    path = copy.folder / "validation" / "en_books.bin"
    path.write_bytes(path.read_bytes()[:-2])


def lengthen_the_sequences(copy: Training) -> None:
    copy.change(training={"sequence_length_tokens": 1024})


def embed_fewer_ids(copy: Training) -> None:
    path = copy.folder / "checkpoint" / "config.json"
    config = read_json(path) | {"vocab_size": 300}
    path.unlink()
    write_json(path, config)


def lose_the_pretrained_weights(copy: Training) -> None:
    shutil.rmtree(copy.folder / "checkpoint" / "release")


def lose_their_tracker(copy: Training) -> None:
    (copy.folder / "checkpoint" / "latest_checkpointed_iteration.txt").unlink()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lose_the_manifest, "no complete run folder: manifest.json is missing"),
        (swap_the_tokenizer, "the tokenizer is not the one that the run folder was written with, toy."),
        (mix_for_another_tokenizer, "the shards are of tokenizer other.01234567, the run's is toy."),
        (
            compute_another_mixture,
            "the mixture was computed again, or edited, since the run folder was written with it",
        ),
        (lose_the_mixture, "to take the new one, write the run folder again: snakemake results/runs/run/manifest.json"),
        (cut_a_shard_short, "holds dc=20 sc=20 tc="),
        (lose_a_shard, "holds dc=0 sc=0 tc=0"),
        (cut_a_validation_set_short, "en_books"),
        (lengthen_the_sequences, "is over the model's 512 positions"),
        (embed_fewer_ids, "has 400 ids, checkpoint 'toy-llama' embeds 300"),
        (lose_the_pretrained_weights, "the checkpoint is not what its passport says"),
        (lose_their_tracker, "the run folder has no converted checkpoint"),
    ],
)
def test_what_does_not_fit_is_refused(
    training: Training, tmp_path: Path, spoil: Callable[[Training], None], problem: str
) -> None:
    copy = training.copied(tmp_path / "run")
    spoil(copy)
    assert problem in copy.refused()
    assert not read_log(copy.output)


@pytest.mark.parametrize(
    ("parallel", "processes", "action"),
    [({"tensor": 2}, 1, "start 2 processes\n"), ({"data": 2}, 1, "start 2 processes, or set data: 1\n")],
)
def test_a_wrong_number_of_processes_is_refused(
    training: Training, tmp_path: Path, parallel: dict[str, int], processes: int, action: str
) -> None:
    copy = training.copied(tmp_path / "run", parallel=parallel)
    code, printed = copy.start(processes=processes).wait()
    assert code == 2 and f"{processes} processes do not make tensor" in printed and action in printed, printed
    assert not copy.output.exists()


def test_processes_that_cannot_be_cut_are_refused() -> None:
    from pretrain_llama.run.ranks import Ranks
    from pretrain_llama.training.processes import process_groups

    with (
        pytest.raises(ConfigError, match="2 processes cannot be cut into groups of tensor 3 x pipeline 1"),
        process_groups(3, 1, "a test", Ranks(0, 2, 0, 2, "127.0.0.1", 1)),
    ):
        pass


def take_a_second_gpu(_: Path) -> None:
    import torch

    from pretrain_llama.run.ranks import Ranks
    from pretrain_llama.training.processes import _take_device

    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1
    _take_device(Ranks(1, 2, 1, 2, "node", 1))


def test_more_processes_than_gpus_are_refused(tmp_path: Path) -> None:
    code, printed = start(take_a_second_gpu, tmp_path, outputs=tmp_path / "second").wait()
    assert code == 2 and "process 1 of this node has no GPU: there are 1" in printed, printed


def test_a_run_without_validation_sets_trains_alike(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run")
    shutil.rmtree(copy.folder / "validation")
    copy.train()
    assert copy.losses() == training.losses()
    assert not (copy.output / "validation.jsonl").read_text()


def test_a_validation_set_may_be_shorter_than_a_sequence_or_larger_than_asked(
    training: Training, tmp_path: Path
) -> None:
    copy = training.copied(tmp_path / "run", operation={"evaluation_sequences": 3}, training={"iterations": 2})
    sets = {"en_tiny": [[1, 5, 9, 2]], "en_end": [[1, 5], []], "en_one": [[], [1]], "en_blank": [[], []], "en_none": []}
    for name, documents in sets.items():
        write_pair(copy.folder / "validation" / name, documents)
    printed = copy.train()
    told = "WARNING: validation sets of fewer than two tokens are left out: en_blank, en_none, en_one"
    assert printed.count(told) == 1
    loss = read_log(copy.output, "validation.jsonl")[0]["loss"]
    assert loss.keys() == {"ar_news", "en_books", "en_tiny", "en_end"} and all(5 < each < 7 for each in loss.values())
