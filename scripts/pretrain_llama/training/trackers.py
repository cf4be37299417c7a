"""Scalars to MLflow and Weights & Biases, where the environment asks for them; in a thread, since they ask a server.

A tracker that cannot be reached never stops a training: the error is printed, and the scalars are lost to it.
"""

import importlib.util
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from pretrain_llama.files import read_json, write_json

Send = Callable[[dict[str, float], int], None]


class Trackers:
    """The trackers of a run; none of them is needed."""

    def __init__(self, output: Path, run_name: str) -> None:
        """Connect to those that are configured and installed; output: where their ids are kept for resumption."""
        self._queue: queue.Queue[tuple[dict[str, float], int] | None] = queue.Queue()
        self._sends: dict[str, Send] = {}
        self._ends: list[Callable[[], None]] = []
        for name, variable, connect in (
            ("mlflow", "MLFLOW_TRACKING_URI", self._connect_mlflow),
            ("wandb", "WANDB_API_KEY", self._connect_wandb),
        ):
            if not os.environ.get(variable):
                continue
            if importlib.util.find_spec(name) is None:
                print(f"warning: {variable} is set, but {name} is not installed: nothing is sent to it", flush=True)
                continue
            self._attempt(name, lambda connect=connect: connect(output, run_name))
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def add(self, scalars: dict[str, float], iteration: int) -> None:
        """Send scalars by tag, soon."""
        if self._sends:
            self._queue.put((scalars, iteration))

    def close(self) -> None:
        """Send what is left, and end the runs there."""
        self._queue.put(None)
        self._thread.join()
        for end in self._ends:
            self._attempt("end", end)

    def _send_all(self) -> None:
        while (item := self._queue.get()) is not None:
            for name, send in self._sends.items():
                self._attempt(name, lambda send=send, item=item: send(*item))

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever a server or its client does
            print(f"warning: {name}: {type(error).__name__}", flush=True)  # a message may hold a URL with a token

    def _connect_mlflow(self, output: Path, run_name: str) -> None:
        import mlflow

        # Inside a job, AzureML has begun a run and names it in MLFLOW_RUN_ID; elsewhere, resumption goes on with ours.
        stored = output / "mlflow.json"
        known = read_json(stored)["run_id"] if stored.exists() and "MLFLOW_RUN_ID" not in os.environ else None
        run = mlflow.start_run(run_id=known, run_name=run_name)
        write_json(stored, {"run_id": run.info.run_id})
        self._sends["mlflow"] = lambda scalars, iteration: mlflow.log_metrics(scalars, step=iteration)
        self._ends.append(mlflow.end_run)

    def _connect_wandb(self, output: Path, run_name: str) -> None:
        import wandb

        stored = output / "wandb.json"
        known = read_json(stored)["id"] if stored.exists() else None
        run = wandb.init(id=known, resume="allow", name=run_name, dir=str(output))
        write_json(stored, {"id": run.id})
        run.define_metric("*", step_metric="iteration")  # W&B's own step may not go back, ours does on resumption
        self._sends["wandb"] = lambda scalars, iteration: run.log(scalars | {"iteration": iteration})
        self._ends.append(run.finish)
