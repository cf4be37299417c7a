"""Node hours, from the times of the tasks that the executor notes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.batch import models
from snakemake_executor_plugin_azurebatch import ledger

from pretrain_llama.errors import DataError
from pretrain_llama.estimate import node_hours
from pretrain_llama.shards.listing import write
from pretrain_llama.stores import SourceFile
from project import ROOT, Project, run_script

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
SIZE = "Standard_D16ds_v5"
HEAD = "rule\tvm_size\tnode\tkind\ttasks_per_node\tstarted\tended\n"


def note(path: Path, rule: str, node: str, start: int, minutes: int, dedicated: bool | None = True) -> None:
    """Let the executor's own code note a task that ran from some minutes after noon, one of four on its node."""
    began = NOON + timedelta(minutes=start)
    info = models.BatchTaskExecutionInfo(
        start_time=began, end_time=began + timedelta(minutes=minutes), retry_count=0, requeue_count=0, result="success"
    )
    where = models.BatchNodeInfo(pool_id="pool", node_id=node)
    task = models.BatchTask({"displayName": rule, "executionInfo": info, "nodeInfo": where})
    ledger.record(path, SIZE, 4, dedicated, task)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Two nodes: one dedicated, which was away for an hour; one spot."""
    path = tmp_path / "results" / "tasks.tsv"
    note(path, "merge_shard", "a", 0, 60)
    note(path, "merge_shard", "a", 30, 60)
    note(path, "tokenize_shard", "a", 150, 30)
    note(path, "tokenize_shard", "b", 0, 120, dedicated=False)
    note(path, "sign_data", "c", 0, 12, dedicated=None)
    return path


def test_a_tasks_share_of_its_node(tasks: Path) -> None:
    found = node_hours.by_rule(node_hours.read(tasks))
    assert list(found.itertuples(name=None)) == [
        ("merge_shard", 2, 0.5),
        ("sign_data", 1, pytest.approx(0.05)),
        ("tokenize_shard", 2, 0.625),
    ]


def test_a_node_is_up_from_its_first_task_to_its_last(tasks: Path) -> None:
    found = node_hours.by_machine(node_hours.read(tasks))
    assert list(found.itertuples(name=None)) == [
        ((SIZE, "dedicated"), 2, 1.5 + 0.5),
        ((SIZE, "spot"), 1, 2.0),
        ((SIZE, "unknown"), 1, pytest.approx(0.2)),
    ]


def test_a_node_is_up_as_long_as_its_longest_task(tmp_path: Path) -> None:
    """A short task in a long one, and one right after it, are of the same time up."""
    for start, minutes in [(0, 300), (10, 5), (310, 50), (400, 60)]:
        note(tmp_path / "NA.tsv", "null", "nan", start, minutes)
    tasks = node_hours.read(tmp_path / "NA.tsv")
    assert list(node_hours.by_machine(tasks).itertuples(name=None)) == [((SIZE, "dedicated"), 2, 6.0 + 1.0)]
    assert list(node_hours.by_rule(tasks)["tasks"].items()) == [("null", 4)]


def test_of_no_task_that_ended_there_is_no_hour(tmp_path: Path) -> None:
    (tmp_path / "tasks.tsv").write_text(f"{HEAD}merge_shard\tx\ty\tspot\t4\t2026-11-30T12:00:00\t\nmerge_sh")
    tasks = node_hours.read(tmp_path / "tasks.tsv")
    assert node_hours.by_rule(tasks).empty and node_hours.by_machine(tasks).empty
    result = run_script("sum_node_hours.py", "--tasks", tmp_path / "tasks.tsv", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert ["total", "0", "0.00"] in [line.split() for line in result.stdout.splitlines()]


def test_a_task_that_never_began_is_left_out(tmp_path: Path) -> None:
    info = models.BatchTaskExecutionInfo(retry_count=0, requeue_count=0)
    ledger.record(tmp_path / "tasks.tsv", SIZE, 4, True, models.BatchTask({"executionInfo": info}))
    assert not (tmp_path / "tasks.tsv").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file of tasks"),
        ("rule\tnode\n", "it has no column 'ended'"),
        ("{head}merge_shard\tx\ty\tspot\tno\t2026-11-30T12:00:00\t2026-11-30T12:00:00\n", "does not write: invalid"),
        ("{head}merge_shard\tx\ty\tspot\t4\t2026-11-30T12:00:00\t2026-11-30T11:00:00\n", "merge_shard on y"),
        ("{head}merge_shard\tx\ty\tspot\t4\t\t2026-11-30T11:00:00\n", "Invalid isoformat string: ''"),
        (
            "{head}merge_shard\tx\ty\tspot\t4\t2026-11-30T11:00:00\tno\tmore\tof\tit\n",
            "does not write: it has more values",
        ),
    ],
)
def test_what_is_no_file_of_the_executor(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "tasks.tsv"
    if text is not None:
        path.write_text(text.replace("{head}", HEAD))
    with pytest.raises(DataError, match=says):
        node_hours.read(path)


def test_the_program_shows_them_beside_the_estimate(tasks: Path, project: Project) -> None:
    listing = project.folder / "listing.tsv"
    project.corpora(["en", "books", "tales", "az://vendor/*.jsonl", "text"])
    write(listing, [SourceFile("az://vendor/a.jsonl", 40 * 10**6, 0)])
    result = run_script("sum_node_hours.py", "--tasks", tasks, "--listing", listing, cwd=project.folder)
    assert result.returncode == 0, result.stderr
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in result.stdout.splitlines() if line}
    assert rows["merge_shard", "2"][0] == "0.50" and float(rows["merge_shard", "2"][1].replace(",", "")) > 0
    assert rows[SIZE, "dedicated"] == ["2", "2.00", "2.00", "USD"]
    assert rows[SIZE, "spot"] == ["1", "2.00", "0.50", "USD"]
    assert rows[SIZE, "unknown"] == ["1", "0.20"], "of no price"
    alone = run_script("sum_node_hours.py", "--tasks", tasks, cwd=project.folder)
    assert alone.returncode == 0, alone.stderr
    assert ["merge_shard", "2", "0.50"] in [line.split() for line in alone.stdout.splitlines()]
