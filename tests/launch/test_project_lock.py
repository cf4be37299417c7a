"""The lock on a project while a training goes on: new data can be made, the run's folder cannot be written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.exceptions import LockException
from snakemake.persistence.file import FilePersistence

from pretrain_llama.launch.project_lock import narrow, share

SIGNATURE, MIXTURE = "results/tokenized/toy/data_signature.json", "results/runs/tiny/mixture/probabilities.json"
FINISHED, SUMMARY = "results/runs/tiny/output/finished.json", "results/runs/tiny/summary.txt"


def job(rule: str, made: list[str], read: list[str]) -> SimpleNamespace:
    return SimpleNamespace(rule=SimpleNamespace(name=rule), output=made, input=read)


SIGN = job("sign_data", [SIGNATURE], ["results/shards/a.jsonl"])
MIX = job("compute_probabilities", [MIXTURE], [SIGNATURE])
TRAIN = job("launch_training", [FINISHED], ["results/runs/tiny/manifest.json", MIXTURE])
SUM = job("summarize_run", [SUMMARY], [FINISHED, "results/tokenized/toy/conservation.json"])
ALL = job("all", [], [SUMMARY])


def snakemake(folder: Path, jobs: list[Any], pending: list[Any]) -> FilePersistence:
    """Return the bookkeeping of a run of Snakemake: of all its jobs, and of those that are to be done."""
    workflow = SimpleNamespace(dag_settings=SimpleNamespace(max_checksum_file_size=0))
    dag = SimpleNamespace(jobs=jobs, needrun_jobs=lambda: pending, workflow=workflow)
    made = FilePersistence(dag=dag, path=folder / ".snakemake")
    made.started = lambda *_: None
    share(made)
    return made


def is_refused(persistence: FilePersistence) -> bool:
    try:
        with persistence.lock():
            return False
    except LockException:
        return True


def test_while_a_training_goes_on_data_can_be_made_and_nothing_of_the_run(tmp_path: Path) -> None:
    pending = [SIGN, MIX, TRAIN, SUM, ALL]
    training = snakemake(tmp_path, pending, list(pending))
    with training.lock():
        data, mixture, run = (snakemake(tmp_path, [one], [one]) for one in (SIGN, MIX, TRAIN))
        assert is_refused(data), "it was to be made"
        del training.dag.needrun_jobs()[:2]
        training.started(TRAIN)
        assert not is_refused(data)
        assert is_refused(mixture) and is_refused(run), "also after others ended, who take no lock but theirs away"
        with data.lock():
            assert is_refused(snakemake(tmp_path, [SIGN], [SIGN]))
    assert not is_refused(run)


@pytest.mark.parametrize("other", [SIGN, MIX])
def test_the_lock_stays_where_something_else_is_to_be_made(tmp_path: Path, other: SimpleNamespace) -> None:
    training = snakemake(tmp_path, [other, TRAIN], [other, TRAIN])
    with training.lock():
        assert not narrow(training)
        assert is_refused(snakemake(tmp_path, [other], [other]))


def test_other_jobs_narrow_nothing(tmp_path: Path) -> None:
    training = snakemake(tmp_path, [TRAIN, SUM], [TRAIN, SUM])
    with training.lock():
        training.started(SUM)
        summarized = job("check_conservation", ["results/tokenized/toy/conservation.json"], [SIGNATURE])
        assert is_refused(snakemake(tmp_path, [summarized], [summarized]))
