"""What a training writes down: TensorBoard while it goes on and after a kill, lines of JSON, trackers."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.estimate.flops import flops_per_token, multiplied_parameters, peak_flops
from pretrain_llama.run.history import History
from pretrain_llama.run.log_file import CONSUMPTION, SAMPLES, VALIDATION, read_log
from pretrain_llama.tokenization.indexed import IndexedReader
from processes import free_ports
from sampled import sample
from trainings import Training, start, train

MANY = {"training": {"iterations": 3000}, "operation": {"checkpoint_every_iterations": 15, "log_every_iterations": 5}}


def read_board(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def steps(folder: Path, tag: str = "training/loss") -> list[int]:
    if not folder.exists():
        return []
    board = read_board(folder)
    return [point.step for point in board.Scalars(tag)] if tag in board.Tags()["scalars"] else []


def test_tensorboard_shows_all_that_was_measured(training: Training) -> None:
    board, log = read_board(training.output / "tensorboard"), read_log(training.output)
    found = {tag: {point.step: point.value for point in board.Scalars(tag)} for tag in board.Tags()["scalars"]}
    for name in ("loss", "gradient_norm", "learning_rate", "batch_sequences"):
        assert found[f"training/{name}"] == pytest.approx({r["iteration"]: r[name] for r in log})
    assert found["progress/consumed_tokens"][8] == 8 * 8 * 32
    assert found["speed/tokens_per_second"][8] > 0 and found["memory/memory_bytes"][8] > 100e6
    assert found["speed/tflops_per_second_per_device"][8] > 0 and "speed/mfu" not in found, "no peak is known of a CPU"
    assert found["anomalies/skipped_steps"][8] == found["anomalies/rewinds"][8] == 0

    evaluated = read_log(training.output, VALIDATION)
    assert [record["iteration"] for record in evaluated] == [0, 4, 8] == list(found["validation_loss/en_books"])
    assert evaluated[0]["loss"].keys() == {"en_books", "ar_news"}
    assert evaluated[2]["loss"]["en_books"] < evaluated[0]["loss"]["en_books"] - 0.3
    for record in evaluated:
        perplexity = found["validation_perplexity/ar_news"][record["iteration"]]
        assert perplexity == pytest.approx(math.exp(record["loss"]["ar_news"]), rel=1e-5)

    consumed = read_log(training.output, CONSUMPTION)[-1]
    assert consumed["tokens"].keys() == {"en_books", "ar_news"}
    assert consumed["tokens"]["en_books"] == pytest.approx(2 / 3 * 2048, abs=32)
    there = sum(IndexedReader(path.with_suffix("")).tokens for path in (training.folder / "data").glob("ar_news*.idx"))
    assert consumed["epochs"]["ar_news"] == pytest.approx(consumed["tokens"]["ar_news"] / there)
    assert found["epochs/ar_news"][8] == pytest.approx(consumed["epochs"]["ar_news"])


def test_tensorboard_groups_the_scalars_and_shows_what_the_run_is_and_says(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", training={"iterations": 2})
    sample(copy)
    copy.train()
    board = read_board(copy.output / "tensorboard")
    layout = layout_pb2.Layout.FromString(board.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert [category.title for category in layout.category] == ["losses", "validation", "throughput", "consumption"]
    assert charts["language ar"] == ["validation_loss/ar_.*"]
    shown = {tag for tag in board.Tags()["scalars"] if re.fullmatch(charts["domain books"][0], tag)}
    assert shown == {"validation_loss/en_books"}
    texts = {tag: board.Tensors(f"{tag}/text_summary") for tag in ("run", "samples/1", "samples/2")}
    assert texts["run"][0].tensor_proto.string_val[0].decode() == (copy.folder / "README.md").read_text()
    assert [event.step for event in texts["samples/1"]] == [0, 2]
    first = read_log(copy.output, SAMPLES)[0]["texts"][0]
    assert texts["samples/1"][0].tensor_proto.string_val[0].decode() == "    " + first.replace("\n", "\n    ")


class Page:
    """TensorBoard's own server, as AzureML's service runs it."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports()
        command = ["tensorboard.main", "--logdir", str(folder), "--port", str(port), "--reload_interval", "1"]
        self._process = subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.DEVNULL)
        self._address = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?tag=training%2Floss&run="

    def steps(self, run: str) -> list[int]:
        """Return the steps that the page shows of a run, a folder below its own."""
        try:
            with urllib.request.urlopen(self._address + run, timeout=5) as answer:
                return [point[1] for point in json.load(answer)]
        except OSError:  # not yet
            return []

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path)
    yield page
    page.close()


def test_the_page_shows_a_training_live_and_its_copy_outlives_a_kill(
    training: Training, tmp_path: Path, page: Page
) -> None:
    copy, live = training.copied(tmp_path / "run", **MANY), tmp_path / "node" / "tensorboard"
    kept, history = copy.output / "tensorboard", History(copy.output)
    started = copy.start(live)
    started.wait_for(lambda: len(page.steps("node/tensorboard")) > 20)
    started.wait_for(lambda: len(history.events("saved")) > 1)
    started.kill()
    saved = history.events("saved")[-1]["iteration"]
    assert set(steps(kept)) >= set(range(1, saved + 1)), "complete up to the checkpoint; what follows is done again"

    shutil.rmtree(live)  # the node is gone
    copy.change(operation={"time_limit_seconds": 0.5})
    copy.train(live)
    last = len(copy.losses())
    assert last > saved and steps(kept) == steps(live) == list(range(1, last + 1))
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in live.iterdir()
    }
    deadline = time.monotonic() + 30
    while page.steps("run/output/tensorboard") != list(range(1, last + 1)):
        assert time.monotonic() < deadline, page.steps("run/output/tensorboard")
        time.sleep(0.2)


def train_with_small_files(folder: Path, live: Path) -> None:
    from pretrain_llama.training.logging import board

    board.SCALARS_PER_FILE, board.COPY_EVERY_SECONDS = 200, 0.1
    train(folder, live)


def test_events_are_rotated_and_copied_by_a_thread(training: Training, tmp_path: Path) -> None:
    never = {"checkpoint_every_iterations": 10_000, "evaluate_every_iterations": 10_000}
    copy, live = training.copied(tmp_path / "run", training={"iterations": 3000}, operation=never), tmp_path / "live"
    started = start(train_with_small_files, copy.folder, live, outputs=tmp_path / "rotated")
    kept = copy.output / "tensorboard"
    started.wait_for(lambda: len(list(kept.glob("events*"))) >= 3)
    started.kill()
    assert len(steps(kept)) > 20 and steps(kept) == list(range(1, len(steps(kept)) + 1))


def test_floating_point_operations_follow_the_paper(llama: Path) -> None:
    """PaLM, appendix B, by hand for hidden 64, 2 layers, 8 heads of 8, 4 of keys and values, 176 channels, 400 ids."""
    architecture = read_architecture(llama)
    parameters = 2 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 176) + 400 * 64
    assert multiplied_parameters(architecture) == parameters
    assert flops_per_token(architecture, 32) == 6 * parameters + 12 * 2 * 64 * 32
    assert peak_flops("NVIDIA A100-SXM4-80GB", "bf16") == 312e12 and peak_flops("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_flops("NVIDIA H200", "bf16") == 989e12 and peak_flops("NVIDIA H200 NVL", "bf16") == 835e12
    assert peak_flops("NVIDIA A100-SXM4-80GB", "fp32") == 19.5e12
    for unknown in ("NVIDIA GeForce GTX 1080", "NVIDIA A10G", "cpu"):
        assert peak_flops(unknown, "bf16") is None


# As in mlflow 3.15: a run is active in the thread that began it, alone; start_run takes MLFLOW_RUN_ID away.
MLFLOW = """
import json, os, threading, types
file = open(os.environ["CALLS"], "a")
active = threading.local()
def note(*call): print(json.dumps(call), file=file, flush=True)
def start_run(run_id=None, run_name=None):
    active.run = run_id or os.environ.pop("MLFLOW_RUN_ID", None) or "new-run"
    note("start", active.run, run_name)
    return types.SimpleNamespace(info=types.SimpleNamespace(run_id=active.run))
def log_metrics(metrics, step=None, run_id=None):
    note("log", step, sorted(metrics), run_id or getattr(active, "run", None) or "a foreign run")
def end_run(status="FINISHED"): note("end", getattr(active, "run", None))
"""
HANGING = """
import time
def start_run(run_id=None, run_name=None): time.sleep(600)
"""
WANDB = """
import json, os
file = open(os.environ["CALLS"], "a")
class Run:
    id = "new-id"
    def define_metric(self, name, step_metric): pass
    def log(self, data): print(json.dumps(["wandb", data["iteration"]]), file=file, flush=True); raise OSError("secret")
    def finish(self): pass
def init(id=None, resume=None, name=None, dir=None): return Run()
"""


def test_trackers_are_told_and_never_stop_a_training(training: Training, tmp_path: Path) -> None:
    """MLflow and W&B are not among our packages: modules with the functions that are called stand in for them."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "mlflow.py").write_text(MLFLOW)
    (tmp_path / "packages" / "wandb.py").write_text(WANDB)
    copy = training.copied(tmp_path / "run", operation={"time_limit_seconds": 0.001})
    told = {"MLFLOW_TRACKING_URI": "https://tracking", "WANDB_API_KEY": "key", "CALLS": str(tmp_path / "calls")}
    first = copy.start(packages=tmp_path / "packages", **told).wait()[1]
    copy.change(operation={"time_limit_seconds": None})
    copy.start(packages=tmp_path / "packages", **told).wait()
    assert "warning: wandb: OSError" in first and "secret" not in first
    assert re.search(r"warning: wandb: (\d+) of \1 records of scalars were not sent", first) and "mlflow:" not in first
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    mlflow = [call for call in calls if call[0] in ("start", "log", "end")]
    assert [call for call in mlflow if call[0] == "start"] == [["start", "new-run", "run"]] * 2
    assert mlflow[-1] == ["end", "new-run"]
    assert {call[3] for call in mlflow if call[0] == "log"} == {"new-run"}
    assert [call[1] for call in mlflow if call[0] == "log" and "training/loss" in call[2]] == [1, 2, 4, 6, 8]
    assert any("validation_loss/en_books" in call[2] for call in mlflow if call[0] == "log")


def test_scalars_go_to_the_run_that_azureml_began(training: Training, tmp_path: Path) -> None:
    (tmp_path / "mlflow.py").write_text(MLFLOW)
    copy = training.copied(tmp_path / "run", training={"iterations": 2})
    told = {"MLFLOW_TRACKING_URI": "azureml://x", "MLFLOW_RUN_ID": "of-the-job", "CALLS": str(tmp_path / "calls")}
    assert copy.start(packages=tmp_path, **told).wait()[0] == 0
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert {call[3] for call in calls if call[0] == "log"} == {"of-the-job"}


def train_impatiently(folder: Path) -> None:
    from pretrain_llama.training.logging import trackers

    trackers.CLOSE_SECONDS = 2
    train(folder)


def test_a_tracker_that_hangs_delays_nothing(training: Training, tmp_path: Path) -> None:
    (tmp_path / "mlflow.py").write_text(HANGING)
    copy = training.copied(tmp_path / "run", training={"iterations": 2})
    hanging = {"packages": tmp_path, "MLFLOW_TRACKING_URI": "https://tracking"}
    started = start(train_impatiently, copy.folder, outputs=tmp_path / "hanging", **hanging)
    started.wait_for((copy.output / "finished.json").exists)  # while it waits
    code, printed = started.wait()
    assert code == 0, printed
    assert "warning: the trackers did not end within 2 seconds" in printed
    assert re.search(r"warning: mlflow: (\d+) of \1 records of scalars were not sent", printed), printed


def test_a_tracker_that_is_not_installed_is_named(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", training={"iterations": 2})
    assert "MLFLOW_TRACKING_URI is set, but mlflow is not installed" in copy.train(MLFLOW_TRACKING_URI="https://x")


def import_without_tensorboard(_: Path) -> None:
    for name in [name for name in sys.modules if "tensorboard" in name or name.endswith("logging.board")]:
        sys.modules[name] = None if name == "tensorboard" else sys.modules.pop(name) and None
    for name in [name for name, module in sys.modules.items() if module is None and name != "tensorboard"]:
        del sys.modules[name]
    import pretrain_llama.training.logging.board  # noqa: F401


def test_a_missing_tensorboard_is_an_error(tmp_path: Path) -> None:
    code, printed = start(import_without_tensorboard, tmp_path, outputs=tmp_path / "without").wait()
    assert code == 2 and "TensorBoard is not there" in printed, printed
