"""The screen of Snakemake, the logger plugin `stages`: a preview's table, a line a stage, failures, targets."""

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_logger_plugin_stages as screen
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_stages import stages

from pretrain_llama.status import stages as described
from project import ROOT


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    """Two rules, one of which reads bytes, and a target that does nothing."""
    screen.describe({"merge": "join files", "speak": "say it"}, amount, ["speak"], ["mixture", "data"])
    yield
    screen.describe({}, lambda rule, wildcards: None)


def amount(rule: str, wildcards: dict[str, str]) -> tuple[int, str] | None:
    return (2_000_000, "B") if rule == "merge" else None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def handler(stream: io.StringIO, **settings: bool) -> screen.LogHandler:
    usual = dict.fromkeys(("stdout", "verbose", "printshellcmds", "debug_dag", "dryrun"), False)
    made = screen.LogHandler(SimpleNamespace(nocolor=True, **(usual | settings)), None)
    made.setFormatter(DefaultFormatter())
    made._stream = made._own.stream = stream
    made._is_tty = stream.isatty()
    return made


def say(made: screen.LogHandler, message: str = "", **fields: Any) -> None:
    made.emit(logging.makeLogRecord({"msg": message, "levelno": logging.INFO, "levelname": "INFO", **fields}))


def begin(made: screen.LogHandler, jobid: int, rule: str, output: list[str] | None = None) -> None:
    fields = {"jobid": jobid, "rule_name": rule, "wildcards": {}, "output": ["x"] if output is None else output}
    say(made, event=LogEvent.JOB_INFO, is_checkpoint=rule == "sign", **fields)


def test_a_preview_is_a_table_without_targets() -> None:
    stream = io.StringIO()
    made = handler(stream, dryrun=True)
    say(made, "Building DAG of jobs...")
    say(made, event=LogEvent.RUN_INFO, stats={"merge": 2, "sign": 1, "all": 1, "total": 4})
    for number, rule in enumerate(("merge", "merge", "sign")):
        begin(made, number, rule)
    begin(made, 3, "all", [])
    say(made, "a note of the workflow")
    say(made, event=LogEvent.RUN_INFO, stats={"merge": 2, "sign": 1, "all": 1, "total": 4})
    made.close()
    made.close()
    note, header, *rows, total, more = stream.getvalue().splitlines()
    assert note == "a note of the workflow"
    assert re.split(" {2,}", rows[0]) == ["merge", "2", "join files", "4 MB"]
    assert header.split() == ["rule", "jobs", "what", "for", "how", "much"]
    assert total.split() == ["total", "3"] and "when the shards are counted" in more


def test_a_table_of_many_rules_fits_on_a_screen() -> None:
    counted = stages.Stages()
    counted.plan({f"rule_{number}": 1 for number in range(60)} | {"total": 60})
    lines = counted.table().splitlines()
    assert len(lines) < 40 and "and 28 more rules" in lines and lines[-2].split() == ["total", "60"]


def test_a_run_is_a_line_a_stage() -> None:
    stream = io.StringIO()
    made = handler(stream)
    say(made, event=LogEvent.RUN_INFO, stats={"merge": 2, "total": 2})
    for number in (0, 1):
        begin(made, number, "merge")
    for number in (0, 1):
        say(made, event=LogEvent.JOB_FINISHED, job_id=number)
    made.close()
    assert stream.getvalue().splitlines() == ["2 jobs", "merge                     2 of 2, 4 MB, 0 s"]


def test_a_stage_that_goes_on_has_rate_and_time_left() -> None:
    now = [0.0]
    counted = stages.Stages(lambda: now[0])
    counted.plan({"merge": 4, "total": 4})
    for number in range(2):
        counted.begin(number, "merge", {}, True)
    now[0] = 120.0
    counted.end(0)
    assert counted.running() == ["merge                     1 of 4, 2 MB, 16.7 kB/s, 2 min, about 6 min left"]
    assert counted.has_lasted(100) and not counted.ended()
    counted.fail(1)
    counted.begin(1, "merge", {}, True)
    assert "1 of 4, 2 MB" in counted.running()[0] and "failed" not in counted.running()[0], "it is tried again"


def test_a_terminal_is_redrawn_but_not_while_a_program_speaks() -> None:
    stream = Terminal()
    made = handler(stream)
    say(made, event=LogEvent.RUN_INFO, stats={"merge": 1, "speak": 1, "total": 2})
    begin(made, 0, "merge")
    say(made, "a note")
    assert stream.getvalue().endswith("\033[1F\033[Ja note\n")
    say(made, event=LogEvent.JOB_FINISHED, job_id=0)
    begin(made, 1, "speak")
    before = stream.getvalue()
    made.close()
    assert before.splitlines()[-1].startswith("speak ") and stream.getvalue() == before


def test_a_failure_is_shown_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("".join(f"line {number}\n" for number in range(40)))
    stream = io.StringIO()
    made = handler(stream)
    begin(made, 0, "merge")
    fields = {"jobid": 0, "rule_name": "merge", "output": ["a.jsonl"], "log": [log], "shellcmd": "false"}
    fields |= {"rule_msg": None, "aux": {}}
    say(made, event=LogEvent.JOB_ERROR, **fields)
    fields |= {"log": [], "rule_name": "copy", "rule_msg": "the task is gone", "aux": {"stderr": "az://results/1"}}
    say(made, event=LogEvent.GROUP_ERROR, job_error_info=[fields])
    shown = stream.getvalue()
    assert "failed: merge a.jsonl\n  | line 30\n" in shown and shown.count("  | ") == 10
    assert (
        f"its log: {log}" in shown
        and "failed: copy a.jsonl\n  the task is gone\n  stderr: az://results/1\n  false\n" in shown
    )


def test_errors_are_shown_and_a_misspelt_target_is_guessed() -> None:
    stream = io.StringIO()
    made = handler(stream)
    said = "MissingRuleException:\nNo rule to produce {} (if you use input functions make sure that …)."
    for target in ("mixtur", "xyz"):
        say(made, said.format(target), event=LogEvent.ERROR, exception="MissingRuleException")
    say(made, "it broke", event=LogEvent.ERROR, exception="WorkflowError")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "nothing makes mixtur; did you mean mixture?"
    assert "No rule to produce xyz" in lines[2] and lines[3] == "it broke"


def test_with_verbose_the_screen_is_snakemakes_own() -> None:
    stream = io.StringIO()
    made = handler(stream, verbose=True)
    say(made, "Building DAG of jobs...")
    made.close()
    assert stream.getvalue() == "Building DAG of jobs...\n"


def test_every_rule_with_a_program_has_words_and_no_other() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    blocks = re.findall(r"^ *(?:rule|checkpoint) (\w+):\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    assert {name for name, body in blocks if "shell:" in body} == described.WORDS.keys()


def test_a_job_takes_what_is_known_of_it() -> None:
    shards = {"en_books_tales_split_0000": 12}
    assert described.amount(shards, "merge_shard", {"shard": "en_books_tales_split_0000"}) == (12, "B")
    assert described.amount(shards, "tokenize_shard", {"shard": "en_books_tales_split_0001"}) is None
    assert described.amount(shards, "name_indexed", {"dc": "7"}) == (7, "documents")
