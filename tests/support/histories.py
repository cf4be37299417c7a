"""Random lives of a training: killed, rewound, resumed, in other phases, with checkpoints gone, damaged and back.

The loop, what it remembers, its data and its logs are the real ones. In place of model and optimizer stands a ledger:
what the "weights" were trained on, saved and loaded with each checkpoint. Beside it an oracle notes what was left out,
by checkpoint, whatever the training writes down.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pairs import counted_name, write_pair
from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.configuration import validate
from pretrain_llama.files import read_json, write_json
from pretrain_llama.run import checkpoint_files, history
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.training import loop, resumption
from pretrain_llama.training.data.sequences import build_indices
from pretrain_llama.training.laps import Laps
from pretrain_llama.training.logging import logs
from pretrain_llama.training.processes import ALONE

LENGTH, SEED = 4, 7  # tokens of a sequence; of the data
IDS, ORDERED = 1000, 500  # ids of a shard; its sequences whose order is noted
LEDGER = "ledger.json"
STEP, SKIPPED, LEFT_OUT = "step", "skipped", "left out"
MANIFEST = {"identity": {"tokenizer": "toy.01234567"}, "blake3": {}, "files": {}}
RUN = validate(
    {
        "tokenizer": "toy",
        "checkpoint": "toy",
        "on_change": "new_phase",
        "training": {
            "iterations": 8,
            "sequence_length_tokens": LENGTH,
            "micro_batch_size_sequences": 2,
            "global_batch_size_sequences": 8,
            "learning_rate": 1e-3,
            "seed": SEED,
        },
        "operation": {"checkpoint_every_iterations": 2, "log_every_iterations": 1, "anomaly_limit": 1000},
    },
    "run",
    "a test",
)
ARCHITECTURE = Architecture(1, 8, 8, 1, 1, 8, 64, 64, 1e-5, 1e4, None, False)


class Killed(BaseException):
    """What a kill -9 is to a program."""


@dataclass
class Entry:
    """What a step did, or a rewind.

    Attributes:
        what: STEP; SKIPPED, one that was left out; LEFT_OUT, drawn between a checkpoint and a rewind to it.
        choice: number of what the run was made of.
        sequences: the first id of each, in the order in which they were drawn.
        loss: of the step.
    """

    what: str
    choice: int
    sequences: list[int]
    loss: float = 0.0


@dataclass
class Oracle:
    """What the test itself knows, and what it does to the training.

    Attributes:
        loss: of the next try of an iteration.
        choice: number of what the run is made of.
        kill_after: so many occasions for it.
        left_out: by the number that a checkpoint was born with, what the last rewind to it left out.
        born: checkpoints.
        ledger: of the newest start.
        going_back_to: a checkpoint, while the training does.
    """

    chance: random.Random
    loss: Callable[[int], float]
    choice: int = 0
    kill_after: float = math.inf
    left_out: dict[int, Entry] = field(default_factory=dict)
    born: int = 0
    ledger: "Ledger | None" = None
    going_back_to: Path | None = None

    def pass_by(self) -> None:
        """Kill, if it is time for that."""
        self.kill_after -= 1
        if self.kill_after < 0:
            raise Killed

    def write_json(self, path: str, value: list[dict[str, Any]]) -> None:
        """Write a file of the history; a kill comes before or after, and a rewind counts from here on."""
        self.pass_by()
        write_json(path, value)
        if path.endswith(history.TIMELINES) and value[-1]["position"]:
            assert self.ledger and self.ledger.batch and self.going_back_to
            saved = read_json(self.going_back_to / LEDGER)
            since = [*self.ledger.entries[len(saved["entries"]) :], self.ledger.batch]
            lost = [sequence for entry in since for sequence in entry.sequences]
            self.left_out[saved["born"]] = Entry(LEFT_OUT, self.choice, lost)
        self.pass_by()


class Ledger:
    """Stands in for `Engine`, and for its state."""

    learning_rate = 1.0
    computing: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, oracle: Oracle, *_: Any) -> None:
        self.iteration = self.trained = self.consumed = 0
        self.entries: list[Entry] = []
        self.batch: Entry | None = None
        self.state, self._oracle, oracle.ledger = self, oracle, self

    def start(self, _: Path) -> None:
        """Begin with weights that know nothing."""

    def resume(self, checkpoint: Path, consumed: int) -> None:
        """Take on a checkpoint, and what was left out after it."""
        saved = read_json(checkpoint / LEDGER)
        self.entries = [Entry(**entry) for entry in saved["entries"]]
        steps = [entry for entry in self.entries if entry.what != LEFT_OUT]
        self.iteration, self.trained = len(steps), sum(len(entry.sequences) for entry in steps)
        self.entries += [self._oracle.left_out[saved["born"]]] if saved["born"] in self._oracle.left_out else []
        self.consumed = consumed

    def gradients(self, batches: Iterator[dict[str, torch.Tensor]], _: int) -> tuple[float, float]:
        """Read a batch; its loss may be no number."""
        self._oracle.pass_by()
        found = [int(row[0]) for batch in batches for row in batch["tokens"][batch["loss_mask"].sum(1) > 0]]
        loss = self._oracle.loss(self.iteration + 1)
        self.batch = Entry(SKIPPED, self._oracle.choice, found, loss)
        return loss, 1.0

    def take_step(self, _: float) -> None:
        """Take it."""
        assert self.batch
        self.batch.what = STEP

    def advance(self, sequences: int) -> None:
        """Write it down."""
        assert self.batch and len(self.batch.sequences) == sequences
        self.entries.append(self.batch)
        self.iteration += 1
        self.trained += sequences
        self.consumed += sequences

    def sharded(self) -> list[Entry]:
        """What a checkpoint holds."""
        return self.entries

    def window(self) -> list[float]:
        """Return the losses that a spike of the next step is judged by: of the steps since its phase began."""
        losses: list[float] = []
        for entry in reversed(self.entries):
            if entry.choice != self._oracle.choice:
                break
            losses += [entry.loss] if entry.what != LEFT_OUT and math.isfinite(entry.loss) else []
        return losses[::-1]


class LedgerWriter:
    """Stands in for `CheckpointWriter`."""

    def __init__(self, oracle: Oracle, checkpoints: Path, _: bool) -> None:
        self._oracle, self._checkpoints = oracle, checkpoints

    def write(self, state: list[Entry], facts: dict[str, Any], then: Any) -> None:
        assert self._oracle.ledger and facts["anomalies"]["losses"] == self._oracle.ledger.window()
        self._oracle.pass_by()
        folder = torch_dist.iteration_folder(self._checkpoints, facts["iteration"])
        beside = folder.with_name(f".{folder.name}.part")
        entries = [asdict(entry) for entry in state]
        self._oracle.born += 1
        write_json(beside / LEDGER, {"born": self._oracle.born, "entries": entries})
        files = checkpoint_files.hash_files([beside / LEDGER])
        checkpoint_files.publish(beside, folder, facts | {"files": files})
        self._oracle.pass_by()
        then(folder, 0.0)

    def finish(self, wait: bool) -> None:
        """All is written."""


class NoBoard:
    """Stands in for `Board`, which waits for a second of its own."""

    def __init__(self, *_: Any) -> None: ...
    def add(self, *_: Any) -> None: ...
    def describe(self, *_: Any) -> None: ...
    def keep(self) -> None: ...
    def close(self) -> None: ...


@contextmanager
def alone(*_: Any) -> Iterator[torch.device]:
    """Stand in for process groups, which the test has."""
    yield torch.device("cpu")


class Life:
    """A training and what happens to it."""

    def __init__(self, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chance = random.Random(seed)
        self.folder, self.output = folder, folder / "output"
        self.oracle = Oracle(self.chance, lambda _: math.nan if self.chance.random() < 0.2 else self.chance.random())
        self.checkpoints, self.stash = self.output / "checkpoints", folder / "away"
        self.order: dict[str, list[int]] = {}
        for number in range(4):
            self._write_shard(number)
        write_json(folder / "checkpoint" / "conversion.json", {})
        write_json(folder / "manifest.json", MANIFEST)
        self.choices = [self._choice(8, "rewind")]
        self._patch(monkeypatch)

    def _write_shard(self, number: int) -> None:
        """Write a shard in which each id stands once, and note the order of its sequences."""
        lengths = [self.chance.choice([0, 1, 3, 7, 20]) for _ in range(self.chance.choice([6, 40]))] + [5]
        corpus = ["en_web_a", "en_web_b", "en_books_c", "ar_news_d"][number]
        name, ids = counted_name(f"{corpus}_split_0000", lengths), iter(range(IDS * number, IDS * (number + 1)))
        write_pair(self.folder / "data" / name, [[next(ids) for _ in range(length)] for length in lengths])
        documents, starts, drawn = build_indices(np.array(lengths, np.int32), LENGTH, ORDERED, SEED)
        begins = np.cumsum([0, *lengths])
        stream = np.concatenate([np.arange(begins[document], begins[document + 1]) for document in documents])
        places = np.cumsum([0, *np.array(lengths)[documents]])[starts[:, 0]] + starts[:, 1]
        self.order[name] = (IDS * number + stream[places[drawn[:ORDERED]]]).tolist()

    def _choice(self, iterations: int, policy: str) -> tuple[dict[str, Any], dict[str, float]]:
        """Return a run.yaml and a mixture."""
        start, increment = self.chance.choice([(2, 2), (2, 6), (4, 4)])
        rampup = {"start_sequences": start, "increment_sequences": increment, "length_sequences": 20}
        run = deepcopy(RUN)
        run["training"] |= {"iterations": iterations, "batch_size_rampup": self.chance.choice([None, rampup])}
        run["operation"] |= {"on_not_finite": policy, "keep_last_checkpoints": self.chance.choice([None, 2])}
        names = self.chance.sample(list(self.order), self.chance.randint(1, 4))
        return run, {name: self.chance.choice([0.2, 0.5, 1.0]) for name in names}

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def find(*args: Any) -> resumption.ResumePoint:
            found = resumption.find_rewind_point(*args)
            self.oracle.going_back_to = found.checkpoint
            return found

        monkeypatch.setattr(loop, "process_groups", alone)
        monkeypatch.setattr(loop, "Engine", partial(Ledger, self.oracle))
        monkeypatch.setattr(loop, "CheckpointWriter", partial(LedgerWriter, self.oracle))
        monkeypatch.setattr(loop, "pretrained_checkpoint", lambda folder: folder.path)
        monkeypatch.setattr(loop, "find_rewind_point", find)
        monkeypatch.setattr(logs, "Board", NoBoard)
        monkeypatch.setattr(history, "write_json", self.oracle.write_json)

    @property
    def run(self) -> dict[str, Any]:
        """The present run.yaml."""
        return self.choices[self.oracle.choice][0]

    def train(self, kill_after: float = math.inf) -> None:
        """Start the training.

        Raises:
            Killed: after so many occasions.
            PretrainError: it may not start, or not go on.
        """
        run, mixture = self.choices[self.oracle.choice]
        write_json(self.folder / "mixture" / "probabilities.json", {"probabilities": mixture})
        self.oracle.kill_after, self.oracle.ledger = kill_after, None
        loop.train(RunFolder(self.folder, run, MANIFEST, {"probabilities": mixture}, ARCHITECTURE), ALONE, None, Laps())

    def change(self) -> None:
        """Let the run be another from now on: a longer one, or one that there was."""
        if self.chance.random() < 0.3:
            self.oracle.choice = self.chance.randrange(len(self.choices))
            return
        policy = self.chance.choice(["skip", "rewind", "rewind", "rewind"])
        self.choose(self.run["training"]["iterations"] + self.chance.randint(0, 8), policy)

    def choose(self, iterations: int, policy: str = "rewind") -> None:
        """Let the run be another from now on."""
        self.choices.append(self._choice(iterations, policy))
        self.choices[-1][0]["operation"]["checkpoint_every_iterations"] = self.run["operation"][
            "checkpoint_every_iterations"
        ]
        self.oracle.choice = len(self.choices) - 1

    def move_away(self) -> None:
        """Move the newest checkpoint elsewhere."""
        if there := list(torch_dist.numbered(self.checkpoints).values()):
            self.stash.mkdir(exist_ok=True)
            there[0].rename(self.stash / f"{there[0].name}.{read_json(there[0] / LEDGER)['born']}")

    def bring_back(self) -> None:
        """Bring back a checkpoint that was moved elsewhere, where its place is free."""
        for path in self.chance.sample(there := sorted(self.stash.glob("iter_*")), len(there)):
            if not (place := self.checkpoints / path.name.partition(".")[0]).exists():
                path.rename(place)
                return

    def damage(self) -> None:
        """Cut the newest checkpoint short."""
        if there := list(torch_dist.numbered(self.checkpoints).values()):
            content = (there[0] / LEDGER).read_bytes()
            (there[0] / LEDGER).write_bytes(content[:-1])
