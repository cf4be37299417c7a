"""Small trainings: run folders made without Snakemake, trained by processes that fork from one with torch imported."""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import yaml

from pairs import counted_name, write_pair
from pretrain_llama.configuration import load_run
from pretrain_llama.files import read_json, sha256, write_json
from pretrain_llama.provenance.writing import write_run_folder
from pretrain_llama.run.log_file import read_log
from pretrain_llama.run.sizes import process_count
from pretrain_llama.run.trainers import program as trains
from pretrain_llama.tokenization.tokenizer import Tokenizer
from processes import free_ports
from project import ROOT, SCRIPTS

PRELOADED = ["pretrain_llama.training.loop", "transformers.models.llama", "torch.distributed._functional_collectives"]
WAIT_SECONDS = 600  # for what hangs; a start takes 75 s where the machine is busy
STARTED: list["Started"] = []


def _server() -> Any:
    """Return multiprocessing's fork server; it finds modules by PYTHONPATH alone."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SCRIPTS), str(ROOT / "tests" / "support")])
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _call(
    action: Callable[..., None], args: tuple, environment: dict[str, str], packages: Path | None, output: str
) -> None:
    """Do something in a process of its own, as a program would, with its output in a file."""
    os.environ.update(environment)
    tempfile.tempdir = None  # which may have been asked for before the fork
    sys.path[:0] = [str(packages)] if packages else []
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from pretrain_llama.errors import run_program

    run_program(lambda: action(*args))


def train(folder: Path, live_tensorboard: Path | None = None) -> None:
    """Run the program that trains the run."""
    live = ["--live-tensorboard", str(live_tensorboard)] if live_tensorboard else []
    program(trains(load_run(folder)), str(folder), *live)


def program(name: str, *words: str) -> None:
    """Run one of our programs."""
    sys.argv = [name, *words]
    import runpy

    runpy.run_path(str(SCRIPTS / name), run_name="a program")["main"]()


@dataclass
class Started:
    """Processes that were started together."""

    processes: list[Any]
    outputs: list[Path]

    def wait(self) -> tuple[int, str]:
        """Return the first exit code that is not 0, or 0, and what all printed."""
        deadline = time.monotonic() + WAIT_SECONDS
        while any(process.is_alive() for process in self.processes):
            failed = [process for process in self.processes if process.exitcode not in (None, 0)]
            if failed or time.monotonic() > deadline:
                self.kill()
            time.sleep(0.01)
        codes = [process.exitcode for process in self.processes]
        code = next((code for code in codes if code not in (0, -signal.SIGKILL)), max(codes, key=abs))
        return code, "".join(output.read_text() for output in self.outputs if output.exists())

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is so, while they go on; else fail with what the first printed."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if not self.processes[0].is_alive() or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(self.outputs[0].read_text())
            time.sleep(0.005)

    def kill(self) -> None:
        """Kill all with -9."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def terminate(self) -> None:
        """Send SIGTERM to all."""
        for process in self.processes:
            process.terminate()


def start(
    action: Callable[..., None],
    *args: Any,
    outputs: Path,
    processes: int = 1,
    packages: Path | None = None,
    **environment: str,
) -> Started:
    """Start processes that do something, with the environment of a launcher where there are several.

    Args:
        action: what they do; args are given to it.
        outputs: where what they print goes, and their number, rank and ending.
        processes: how many.
        packages: folder of further modules.
        environment: further variables.
    """
    server, outputs = _server(), outputs.with_suffix("")
    (port,) = free_ports()
    started = Started([], [])
    for rank in range(processes):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        launched = {name: str(value) for name, value in ranks.items()} if processes > 1 else {}
        output = outputs.with_name(f"{outputs.name}.{rank}.out")
        process = server.Process(target=_call, args=(action, args, launched | environment, packages, str(output)))
        process.start()
        started.processes.append(process)
        started.outputs.append(output)
    STARTED.append(started)
    return started


def kill_all() -> None:
    """Kill what a failed test left behind."""
    while STARTED:
        STARTED.pop().kill()


class Training:
    """A run folder that is made and trained here."""

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self.folder, self.run = folder, run

    def start(
        self, live: Path | None = None, packages: Path | None = None, processes: int = 0, **environment: str
    ) -> Started:
        """Start training, with the processes that its parallel sizes need, or another number."""
        processes = processes or process_count(load_run(self.folder))
        outputs = self.folder.with_name(f"{self.folder.name}.process")
        started = {"outputs": outputs, "processes": processes, "packages": packages}
        return start(train, self.folder, live, **started, **environment)

    def run_in_process(self, action: Callable[[Path], None]) -> str:
        """Do something with the folder in a process of its own; return what was printed."""
        code, printed = start(action, self.folder, outputs=self.folder.with_name("action")).wait()
        assert code == 0, printed
        return printed

    def train(self, live: Path | None = None, **environment: str) -> str:
        """Train to the end; return what was printed."""
        code, printed = self.start(live, **environment).wait()
        assert code == 0, printed
        return printed

    def refused(self) -> str:
        """Train, and be refused; return what was printed."""
        code, printed = self.start().wait()
        assert code == 2, f"exit code {code}: {printed}"
        return printed

    def copied(self, folder: Path, **changes: Any) -> "Training":
        """Return a copy with changed keys of run.yaml, by section; nothing is trained in it."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("output"))
        copy = Training(folder, deepcopy(self.run))
        copy.change(**changes)
        return copy

    def change(self, **changes: Any) -> None:
        """Change keys of run.yaml, by section; the manifest stays as it was written."""
        for key, value in changes.items():
            self.run[key] = self.run.get(key, {}) | value if isinstance(value, dict) else value
        (self.folder / "run.yaml").write_text(yaml.safe_dump(self.run))

    def mix(self, probabilities: dict[str, float], **more: Any) -> None:
        """Write the run folder with another mixture, of shards that lie in data/; more: further keys of it."""
        self.change_mixture(probabilities=probabilities, **more)
        manifest = read_json(self.folder / "manifest.json")
        manifest["files"]["mixture/probabilities.json"] = sha256(self.folder / "mixture" / "probabilities.json")
        write_json(self.folder / "manifest.json", manifest)

    def change_mixture(self, **changes: Any) -> None:
        """Change keys of probabilities.json alone; the manifest stays as it was written."""
        path = self.folder / "mixture" / "probabilities.json"
        write_json(path, read_json(path) | changes)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def losses(self) -> list[float]:
        """The loss of each iteration from the first on."""
        log = read_log(self.output)
        assert [record["iteration"] for record in log] == list(range(1, len(log) + 1))
        return [record["loss"] for record in log]


RUN = {
    "tokenizer": "toy",
    "checkpoint": "toy-llama",
    "parallel": {},
    "training": {
        "iterations": 8,
        "sequence_length_tokens": 32,
        "micro_batch_size_sequences": 2,
        "global_batch_size_sequences": 8,
        "precision": "fp32",
        "learning_rate": 3.0e-3,
        "min_learning_rate": 3.0e-4,
        "warmup_iterations": 1,
    },
    "operation": {"checkpoint_every_iterations": 3, "log_every_iterations": 2, "evaluate_every_iterations": 4},
}


def write_shard(folder: Path, shard: str, documents: list[list[int]]) -> str:
    """Write a shard of documents; return its counted name."""
    name = counted_name(shard, [len(document) for document in documents])
    write_pair(folder / name, documents)
    return name


def make_training(
    folder: Path, model: Path, llama: Path, texts: dict[str, list[str]], validation: dict[str, list[str]]
) -> Training:
    """Make a run folder.

    Args:
        folder: to make; its parent takes what the run folder is made from.
        model: SentencePiece model.
        llama: Hugging Face folder.
        texts: documents by shard; each shard has the same probability.
        validation: documents by validation set.
    """
    tokenizer = Tokenizer("toy", str(model))
    encoder = sentencepiece.SentencePieceProcessor(model_file=str(model))

    def encoded(documents: list[str]) -> list[list[int]]:
        return [[encoder.bos_id(), *ids, encoder.eos_id()] for ids in encoder.encode(documents)]

    sources = folder.with_name("sources")
    names = [write_shard(sources / "indexed", shard, encoded(documents)) for shard, documents in texts.items()]
    copied = sources / tokenizer.identity / "tokenizer.model"
    copied.parent.mkdir(parents=True)
    shutil.copyfile(model, copied)
    convert = ["--source", str(llama), "--output", str(sources / "checkpoint")]
    code, printed = start(program, "convert_checkpoint.py", *convert, outputs=sources / "convert").wait()
    assert code == 0, printed
    (sources / "run").mkdir()
    (sources / "run" / "run.yaml").write_text(yaml.safe_dump(RUN))
    mixture = {"tokenizer": tokenizer.identity, "training_tokens": 0}
    mixture["probabilities"] = {name: 1 / len(names) for name in names}
    write_json(folder / "mixture" / "probabilities.json", mixture)
    for name, documents in validation.items():
        write_pair(sources / "validation" / name, encoded(documents))
    parts = [sources / part for part in ("run", "indexed", "validation")]
    write_run_folder(*parts, copied, sources / "checkpoint", [], folder)
    return Training(folder, deepcopy(RUN))


def copied_with_output(source: Training, folder: Path, **changes: object) -> Training:
    """Return a copy with what was trained, and with changed keys of run.yaml."""
    copy = source.copied(folder)
    shutil.copytree(source.output, copy.output)
    copy.change(**changes)
    return copy


def convert(copy: Training, llama: Path, tensor: int, multiple: int) -> None:
    """Give a run folder weights that are converted with another padding."""
    shutil.rmtree(copy.folder / "checkpoint")
    words = ["--source", str(llama), "--output", str(copy.folder / "checkpoint")]
    words += ["--tensor-parallel", str(tensor), "--vocab-multiple", str(multiple)]
    code, printed = start(program, "convert_checkpoint.py", *words, outputs=copy.folder.with_name("convert")).wait()
    assert code == 0, printed
