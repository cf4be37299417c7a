"""Carry a withdrawal out, step by step, so that it can be killed at any moment and goes on by the same command.

What is to be done is first written to withdrawing.json. Each step can be done twice. The last one appends to
withdrawals.jsonl and removes withdrawing.json.
"""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretrain_llama import stores
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.provenance.begun import standing_still
from pretrain_llama.shards import plan
from pretrain_llama.shards.changes import retire
from pretrain_llama.shards.planned import Plan
from pretrain_llama.tokenization.withdrawn import JOURNAL, RECORD, parse_keys, read_record
from pretrain_llama.withdrawal.pairs import take_out

BESIDE = ".withdrawing"
RECORDED = ("when", "who", "why", "corpora", "files", "keys", "shards", "documents", "tokens", "bytes", "runs")
# Returns the plan of a corpus without some files, and with shards for what else their shards held.
Replan = Callable[[str, Plan, list[str]], Plan]


def unfinished(results: Path) -> dict[str, Any] | None:
    """Return the withdrawal that was interrupted, if there is one."""
    return read_json(results / JOURNAL) if (results / JOURNAL).exists() else None


def check_alone(folder: Path) -> None:
    """Check that no Snakemake works in a folder.

    Raises:
        OperatorError: one does, or was killed there.
    """
    locks = folder / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        raise OperatorError(
            "Snakemake works here, or was killed",
            where=locks,
            action="wait until it ends; if none works here, type snakemake --unlock",
        )


def carry_out(results: Path, journal: dict[str, Any], replan: Replan) -> None:
    """Do all of a withdrawal, or what is left of it.

    Args:
        results: where results lie.
        journal: what is to be done; see `scripts/withdraw.py`.
        replan: see `Replan`.

    Raises:
        OperatorError: a training goes on in one of the run folders.
    """
    with contextlib.ExitStack() as still:
        for run in journal["runs"]:
            still.enter_context(standing_still(results / "runs" / run["run"]))
        write_json(results / JOURNAL, journal)
        for tokenizer, shard in journal["thinned"]:
            keys = parse_keys(set(journal["keys"][tokenizer]))
            take_out(results / "tokenized" / tokenizer, shard, keys, results / BESIDE / tokenizer / shard)
        for corpus, files in journal["files"].items():
            _retire(results / "plan" / f"{corpus}.json", corpus, files, replan)
        for path in journal["deleted"]:
            Path(path).unlink(missing_ok=True)
        _record(results / RECORD, {key: journal[key] for key in RECORDED})
        shutil.rmtree(results / BESIDE, ignore_errors=True)
        (results / JOURNAL).unlink()


def _retire(path: Path, corpus: str, files: list[str], replan: Replan) -> None:
    recorded: Plan = read_json(path)
    left = [file for file in files if file in recorded["files"]]
    if not left:
        return
    if len(left) == len(recorded["files"]):
        planned, _ = retire(recorded, left, "withdrawn")
    else:
        planned = replan(corpus, recorded, left)
    plan.record(path, planned)


def _record(path: Path, entry: dict[str, Any]) -> None:
    """Append to the record, once; what a killed process left of a line is not there: the whole is written anew."""
    entries = read_record(path)
    if entry not in entries:
        content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in [*entries, entry])
        stores.write_small(path, content.encode())
