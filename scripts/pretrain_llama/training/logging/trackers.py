"""Send scalars to MLflow and Weights & Biases, where the environment asks for them, from a thread.

A tracker that cannot be reached, or hangs, never stops a training: the error is printed, the tracker loses the scalars,
and they are counted at the end. The thread does everything, from connecting on: MLflow's active run is known only to
the thread that began it (mlflow 3.15, tracking/fluent.py), and scalars from another thread would land in another run.
"""

import importlib.util
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pretrain_llama.files import read_json, write_json

Send = Callable[[dict[str, float], int], None]
CLOSE_SECONDS = 60.0  # a node that is billed by the hour does not wait for a server for ever


class Trackers:
    """The trackers of a run; none of them is needed."""

    def __init__(self, output: Path, run_name: str) -> None:
        """Use those that are configured and installed; output: where their ids are kept for resumption."""
        self._output, self._run_name = output, run_name
        self._queue: queue.Queue[tuple[dict[str, float], int] | None] = queue.Queue()
        self._sends: dict[str, Send] = {}
        self._ends: dict[str, Callable[[], None]] = {}
        self._added, self._sent = 0, Counter[str]()
        self._names = [name for name, (variable, _) in TRACKERS.items() if self._is_usable(name, variable)]
        self._thread = threading.Thread(target=self._work, daemon=True)
        if self._names:
            self._thread.start()

    def _is_usable(self, name: str, variable: str) -> bool:
        if not os.environ.get(variable):
            return False
        if importlib.util.find_spec(name) is None:
            print(f"warning: {variable} is set, but {name} is not installed: nothing is sent to it", flush=True)
            return False
        return True

    def add(self, scalars: dict[str, float], iteration: int) -> None:
        """Send scalars by tag, soon."""
        if self._names:
            self._added += 1
            self._queue.put((scalars, iteration))

    def close(self) -> None:
        """Send what is left, and end the runs there; wait CLOSE_SECONDS at most, and say what did not arrive."""
        if not self._names:
            return
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            print(f"warning: the trackers did not end within {CLOSE_SECONDS:g} seconds", flush=True)
        for name in self._names:
            if lost := self._added - self._sent[name]:
                print(f"warning: {name}: {lost} of {self._added} records of scalars were not sent", flush=True)

    def _work(self) -> None:
        for name in self._names:
            self._attempt(name, partial(TRACKERS[name][1], self))
        while (item := self._queue.get()) is not None:
            for name, send in self._sends.items():
                self._sent[name] += self._attempt(name, partial(send, *item))
        for name, end in self._ends.items():
            self._attempt(name, end)

    def _attempt(self, name: str, action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception as error:  # whatever a server or its client does
            print(f"warning: {name}: {type(error).__name__}", flush=True)  # a message may hold a URL with a token
            return False
        return True

    def _connect_mlflow(self) -> None:
        import mlflow

        # Inside a job, AzureML has begun a run and names it in MLFLOW_RUN_ID, which start_run takes, and removes;
        # elsewhere, resumption goes on with ours.
        stored = self._output / "mlflow.json"
        known = read_json(stored)["run_id"] if stored.exists() and "MLFLOW_RUN_ID" not in os.environ else None
        own = mlflow.start_run(run_id=known, run_name=self._run_name).info.run_id
        write_json(stored, {"run_id": own})
        self._sends["mlflow"] = lambda scalars, iteration: mlflow.log_metrics(scalars, step=iteration, run_id=own)
        self._ends["mlflow"] = mlflow.end_run

    def _connect_wandb(self) -> None:
        import wandb

        stored = self._output / "wandb.json"
        known = read_json(stored)["id"] if stored.exists() else None
        run = wandb.init(id=known, resume="allow", name=self._run_name, dir=str(self._output))
        write_json(stored, {"id": run.id})
        run.define_metric("*", step_metric="iteration")  # W&B's own step may not go back, ours does on resumption
        self._sends["wandb"] = lambda scalars, iteration: run.log(scalars | {"iteration": iteration})
        self._ends["wandb"] = run.finish


# By name of the package: the variable that asks for it, and how to connect.
TRACKERS = {
    "mlflow": ("MLFLOW_TRACKING_URI", Trackers._connect_mlflow),
    "wandb": ("WANDB_API_KEY", Trackers._connect_wandb),
}
