"""Show a preview as a table by rule, and a run as a line a stage with its progress; Snakemake's log has everything.

The logger plugin `stages`. With --verbose or --printshellcmds, the screen is Snakemake's own. A Snakefile says what its
rules are for and how much their jobs take:

    from snakemake_logger_plugin_stages import describe
    describe({"merge_shard": "join vendor files"}, lambda rule, wildcards: (1_000_000, "B"))
"""

import logging
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from snakemake.logging import ColorizingTextHandler
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_stages.stages import Stages, describe, meant

__all__ = ["LogHandler", "describe"]

SHOWN_OF_LOG = 10  # lines
LOG_EVERY_SECONDS, DRAW_EVERY_SECONDS = 30.0, 0.2
# What Snakemake says of itself, and its log keeps.
NOISE = (
    "Using workflow specific profile",
    "Using profile",
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Using shell",
    "Provided cores",
    "Provided resources",
    "Rules claiming more threads",
    "Select jobs to execute",
    "Execute ",
    "Job stats",
    "Reasons:",
    "This was a dry-run",
    "The run involves checkpoint jobs",
    "DAG of jobs will be updated after completion",
    "Updating checkpoint dependencies",
    "Removing temporary output",
    "Unlocking working directory",
)


class LogHandler(LogHandlerBase):
    """The screen of a run of Snakemake."""

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._stream = sys.stdout if settings.stdout else sys.stderr
        self._is_full = settings.verbose or settings.printshellcmds or settings.debug_dag
        self._own = ColorizingTextHandler(nocolor=settings.nocolor, stream=self._stream)
        self._stages = Stages()
        self._is_tty = self._stream.isatty()
        self._drawn, self._next_draw, self._is_planned = 0, 0.0, False

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, or count it; a screen that is gone stops nothing."""
        try:
            if self._is_full:
                self._own.setFormatter(self.formatter)
                self._own.emit(record)
            else:
                self._show(record)
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Show what is left to be shown: the table of a preview, stages that ended last."""
        if self._is_planned and self.common_settings.dryrun:
            self._write(self._stages.table())
        elif self._is_planned:
            self._clear()
            for line in self._stages.ended():
                self._write(line)
        self._is_planned = False  # Snakemake closes twice
        super().close()

    def _show(self, record: logging.LogRecord) -> None:
        event, fields = getattr(record, "event", None), record.__dict__
        if event == LogEvent.RUN_INFO:
            self._is_planned = True
            self._stages.plan(fields["stats"])
            if not self.common_settings.dryrun:
                self._write(f"{self._stages.jobs:,} jobs")
        elif event == LogEvent.JOB_INFO:
            self._begin(fields)
        elif event == LogEvent.JOB_FINISHED:
            self._stages.end(fields["job_id"])
            self._progress()
        elif event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            self._fail(fields)
        elif event == LogEvent.ERROR or (event is None and not self._is_noise(record)):
            text = self.format(record)
            self._write(meant(text) if fields.get("exception") == "MissingRuleException" else text)

    def _is_noise(self, record: logging.LogRecord) -> bool:
        text = str(record.msg or "").strip()
        return record.levelno < logging.WARNING and (not text or text.startswith(NOISE))

    def _begin(self, fields: dict[str, Any]) -> None:
        self._stages.begin(fields["jobid"], fields["rule_name"], dict(fields["wildcards"]), bool(fields["output"]))
        if fields["is_checkpoint"]:
            self._stages.has_checkpoint = True
        if not self.common_settings.dryrun:
            self._progress(is_due=self._stages.speaks(fields["rule_name"]))

    def _fail(self, fields: dict[str, Any]) -> None:
        """Show a job's failure with the end of its log."""
        for job in fields.get("job_error_info") or [fields]:
            self._stages.fail(job["jobid"])
            logs = [str(path) for path in job["log"] or []]
            self._write(f"failed: {job['rule_name']} {', '.join(map(str, job['output'] or []))}")
            if job["rule_msg"]:
                self._write(f"  {job['rule_msg']}")
            for what, detail in job["aux"].items():
                self._write(f"  {what}: {detail}")
            for path in map(Path, logs):
                if path.is_file():
                    with path.open(encoding="utf-8", errors="replace") as file:
                        self._write("".join(f"  | {line.rstrip()}\n" for line in deque(file, SHOWN_OF_LOG)).rstrip())
                self._write(f"  its log: {path}")
            if job["shellcmd"] and not logs:
                self._write(f"  {job['shellcmd']}")

    def _progress(self, is_due: bool = False) -> None:
        """Show stages that ended, and now and then those that go on; on a terminal, these are redrawn in place."""
        for line in self._stages.ended():
            self._write(line)
        now = time.monotonic()
        if not is_due and now < self._next_draw:
            return
        lines = self._stages.running()
        self._clear()
        self._next_draw = now + (DRAW_EVERY_SECONDS if self._is_tty else LOG_EVERY_SECONDS)
        if lines and (self._is_tty or is_due or self._stages.has_lasted(LOG_EVERY_SECONDS)):
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
            self._drawn = len(lines) if self._is_tty and not self._stages.is_speaking else 0

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write(f"\033[{self._drawn}F\033[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        if text:
            self._clear()
            self._stream.write(f"{text}\n")
            self._stream.flush()

    @property
    def writes_to_stream(self) -> bool:
        """Whether it is the screen."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Whether it writes a file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Whether it leaves records out before it sees them: Snakemake's own filter does, by --quiet."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Whether it has a formatter of its own for messages."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """Whether it wants the graph of rules."""
        return False
