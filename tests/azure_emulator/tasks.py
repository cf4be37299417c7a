"""Pools, their nodes, and tasks that run as local processes: bounded in number, at once, and in time."""

import math
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import isodate

from azure_emulator.autoscale import Asked, nodes_asked
from azure_emulator.faults import Faults, Lose
from azure_emulator.subscription import VM_SIZES


def now() -> str:
    """The time, as the service writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Node:
    """A machine of a pool; `state` as the service names it."""

    id: str
    dedicated: bool = True
    state: str = "idle"
    errors: list[dict] = field(default_factory=list)


class Pool:
    """Nodes, and slots for the tasks that run at once.

    Attributes:
        asked: how many nodes there should be; there are none where `resize_error` says why.
        metadata: what was asked for with it, in the service's JSON.
        has_containers: its tasks run in containers.
        formula: by which it scales; the emulator follows it at the start alone, see Cluster.nodes_asked.
        formula_error, resize_error: why the service cannot evaluate it, or give the nodes, in its JSON.
    """

    def __init__(self, size: str, asked: Asked, slots_per_node: int, most_slots: int) -> None:
        self.size, self.asked, self.slots_per_node = size, asked, slots_per_node
        self.created = datetime.now(UTC)
        self.metadata: list[dict] = []
        self.has_containers = False
        self.formula = ""
        self.formula_error: dict = {}
        self.resize_error: dict | None = None
        self.nodes = [Node(f"tvm-{number}", number < asked.dedicated) for number in range(asked.dedicated + asked.spot)]
        self.slots = threading.Semaphore(min(len(self.nodes) * slots_per_node, most_slots))
        self._turn = 0

    def refuse_nodes(self, error: dict) -> None:
        """Give it none."""
        self.resize_error, self.nodes, self.slots = error, [], threading.Semaphore(0)

    @property
    def dedicated_cores(self) -> int:
        """The cores of its dedicated nodes that count against the quota."""
        return 0 if self.resize_error else self.asked.dedicated * VM_SIZES[self.size][1]

    @property
    def spot_cores(self) -> int:
        """The same, of spot nodes."""
        return 0 if self.resize_error else self.asked.spot * VM_SIZES[self.size][1]

    def usable(self) -> list[Node]:
        """The nodes that can take tasks."""
        return [node for node in self.nodes if node.state in ("idle", "running")]

    def next_node(self) -> Node:
        """Return the node that gets the next task: they take turns."""
        self._turn += 1
        return (usable := self.usable())[self._turn % len(usable)]

    def replace(self, node: Node, state: str) -> None:
        """A node is lost; it stays in the list with its new state, and another one of its kind starts."""
        node.state = state
        self.nodes.append(Node(f"tvm-{len(self.nodes)}", node.dedicated))


@dataclass
class Task:
    """A task: what was asked, in the service's JSON, and what became of it."""

    asked: dict
    folder: Path
    state: str = "active"
    created: str = field(default_factory=now)
    info: dict = field(default_factory=lambda: {"retryCount": 0, "requeueCount": 0})
    node: Node | None = None
    process: subprocess.Popen | None = None

    @property
    def limit_s(self) -> float:
        """Seconds after which the service ends the task, if it was asked to."""
        asked = (self.asked.get("constraints") or {}).get("maxWallClockTime")
        return math.inf if asked is None else isodate.parse_duration(asked).total_seconds()

    @property
    def attempt_folder(self) -> Path:
        """The folder of this attempt on a node: its output, and its working directory `wd`."""
        return self.folder / str(self.info["requeueCount"])

    def end(self, exit_code: int | None, code: str = "FailureExitCode", category: str = "userError") -> None:
        """Complete the task; an exit code of None: it never exited by itself."""
        self.info |= {"endTime": now(), "result": "success" if exit_code == 0 else "failure"}
        if exit_code is not None:
            self.info["exitCode"] = exit_code
        if exit_code != 0:
            details = [{"name": "Message", "value": f"exit code {exit_code}, on node {self.node and self.node.id}"}]
            message = {"FailureExitCode": "The task exited with an exit code representing a failure"}.get(code, code)
            self.info["failureInfo"] = {"category": category, "code": code, "message": message, "details": details}
        self.state = "completed"


class Cluster:
    """All pools, jobs and tasks.

    Args:
        folder: where tasks get their folders.
        faults: what happens to tasks.
        environment: of every task, to which its own settings are added; called when a task starts.
        most_slots, most_tasks: tasks at once and in all.
        task_limit_s: seconds until a task is killed.
    """

    def __init__(
        self,
        folder: Path,
        faults: Faults,
        environment: Callable[[], dict[str, str]],
        most_slots: int = 2,
        most_tasks: int = 2000,
        task_limit_s: int = 300,
    ) -> None:
        self._folder, self._faults, self._environment = folder, faults, environment
        self._most_slots, self.most_tasks, self._task_limit_s = most_slots, most_tasks, task_limit_s
        self.lock = threading.RLock()
        self.pools: dict[str, Pool] = {}
        self.jobs: dict[str, dict] = {}
        self.tasks: dict[tuple[str, str], Task] = {}
        self.added_tasks = 0

    def add_pool(self, name: str, size: str, asked: Asked, slots_per_node: int) -> Pool:
        """Add a pool; its nodes are there at once."""
        self.pools[name] = Pool(size, asked, slots_per_node, self._most_slots)
        return self.pools[name]

    def nodes_asked(self, name: str, later: timedelta, **nodes: int) -> Asked:
        """How many nodes a pool's formula asks for some time after now, if its tasks wait or run as now until then.

        Args:
            name: the pool.
            later: the time after now.
            nodes: metrics of nodes, without their $, such as PreemptedNodeCount; 0 where none is given.
        """
        jobs = [job for job, asked in self.jobs.items() if asked["poolInfo"]["poolId"] == name]
        pending = sum(task.state != "completed" for (job, _), task in list(self.tasks.items()) if job in jobs)
        metrics = {"$PendingTasks": pending} | {f"${metric}": number for metric, number in nodes.items()}
        pool = self.pools[name]
        return nodes_asked(pool.formula, pool.created, later, metrics, pool.asked)

    def add_task(self, job: str, asked: dict) -> None:
        """Add a task, and let it run when there is a slot."""
        self.added_tasks += 1
        task = self.tasks[job, asked["id"]] = Task(asked, self._folder / "tasks" / job / asked["id"])
        pool = self.pools[self.jobs[job]["poolInfo"]["poolId"]]
        threading.Thread(target=self._run, args=(pool, job, task), daemon=True).start()

    def _run(self, pool: Pool, job: str, task: Task) -> None:
        """Run a task to its end, again for every node that it loses."""
        while task.state == "active":
            with pool.slots:
                if not pool.usable():  # it waits until there is a node, or it is ended
                    time.sleep(0.1)
                    continue
                fault = self._faults.take_task()
                exit_code = self._attempt(pool, job, task, fault)
                with self.lock:
                    if task.state == "running" and exit_code is None:
                        self._lose(pool, task, fault)
                    elif task.state == "running":
                        task.end(exit_code)
                if fault is not None and exit_code is not None:
                    self._faults.put_back(fault)

    def _attempt(self, pool: Pool, job: str, task: Task, fault: Lose | None) -> int | None:
        """Run the command once; return its exit code, or None where its node was lost."""
        with self.lock:
            if task.state != "active":  # ended before it began
                return -1
            task.state, task.node = "running", pool.next_node()
            task.info["startTime"] = now()
            task.process = self._start(job, task)
        lost_after_s = math.inf if fault is None else fault.after_s
        ends_after_s = min(lost_after_s, task.limit_s)
        try:
            return task.process.wait(None if math.isinf(ends_after_s) else ends_after_s)
        except subprocess.TimeoutExpired:
            kill(task)
            task.process.wait()
            if task.limit_s < lost_after_s:
                task.end(None, "TaskEnded")
                return -1
            return None

    def _start(self, job: str, task: Task) -> subprocess.Popen:
        folder = task.attempt_folder
        (folder / "wd").mkdir(parents=True)
        environment = self._environment() | {
            "HOME": str(folder),
            "AZ_BATCH_JOB_ID": job,
            "AZ_BATCH_TASK_ID": task.asked["id"],
            "AZ_BATCH_TASK_DIR": str(folder),
            "AZ_BATCH_TASK_WORKING_DIR": str(folder / "wd"),
            "AZ_BATCH_NODE_ID": task.node.id,
            "AZ_BATCH_NODE_IS_DEDICATED": str(task.node.dedicated).lower(),
        }
        environment |= {s["name"]: s.get("value", "") for s in task.asked.get("environmentSettings") or []}
        # The time limit holds even where the emulator itself is killed.
        command = [shutil.which("timeout"), "--signal=KILL", str(self._task_limit_s)]
        with open(folder / "stdout.txt", "wb") as out, open(folder / "stderr.txt", "wb") as err:
            return subprocess.Popen(
                [*command, *shlex.split(task.asked["commandLine"])],
                cwd=folder / "wd",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _lose(self, pool: Pool, task: Task, fault: Lose) -> None:
        """The service queues a task again whose node was lost or preempted; that is no retry.

        https://learn.microsoft.com/azure/batch/best-practices, Nodes: "Batch … will try to recover nodes … and
        reschedule" their tasks.
        """
        pool.replace(task.node, "preempted" if fault.preempted else "unknown")
        self._faults.happened.append(fault)
        task.info |= {"requeueCount": task.info["requeueCount"] + 1, "lastRequeueTime": now()}
        task.state = "active"

    def terminate(self, task: Task) -> None:
        """End a task as a person or a deleted job does."""
        with self.lock:
            if task.state != "completed":
                task.end(None, "TaskEnded")
                kill(task)

    def delete_task(self, job: str, task: Task) -> None:
        """Delete a task, and its files."""
        with self.lock:
            self.terminate(task)
            del self.tasks[job, task.asked["id"]]

    def delete_job(self, job: str) -> None:
        """Delete a job and end its tasks."""
        with self.lock:
            del self.jobs[job]
            for key in [key for key in self.tasks if key[0] == job]:
                self.terminate(self.tasks.pop(key))

    def close(self) -> None:
        """Kill what still runs."""
        with self.lock:
            for job in list(self.jobs):
                self.delete_job(job)


def kill(task: Task) -> None:
    """Kill the process of a task, with all that it started."""
    if task.process is not None and task.process.poll() is None:
        os.killpg(task.process.pid, signal.SIGKILL)
