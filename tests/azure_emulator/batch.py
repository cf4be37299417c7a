"""*.batch.azure.com: pools, nodes, jobs, tasks, their files, and the supported images."""

import re
from pathlib import Path

from azure_emulator import contract, limits
from azure_emulator import subscription as names
from azure_emulator.exchange import Answer, Request, Routes, ServiceError, route
from azure_emulator.login import check_token
from azure_emulator.tasks import Cluster, Task, now

FILTER = re.compile(r"(?:state eq '(\w+)')?")


def _json(value: object) -> Answer:
    return Answer.of_json(value, content_type="application/json; odata=minimalmetadata")


def _selected(request: Request, value: dict) -> dict:
    """What a request asks for of a thing: all of it, or what it selects."""
    names = request.query.get("$select", ",".join(value)).split(",")
    return {name: value[name] for name in names if name in value}


class Batch:
    """Answers the calls of azure-batch for one account; `quota` as the management has it."""

    def __init__(self, cluster: Cluster, quota: dict) -> None:
        self._cluster, self._quota = cluster, quota
        self.images, self.image_capabilities = list(names.IMAGES), ["DockerCompatible"]
        self._routes: Routes = [
            ("GET", r"/supportedimages", self._list_images),
            ("GET", r"/pools", self._list_pools),
            ("GET", r"/pools/([^/]+)", self._get_pool),
            ("DELETE", r"/pools/([^/]+)", self._delete_pool),
            ("GET", r"/pools/([^/]+)/nodes", self._list_nodes),
            ("POST", r"/jobs", self._add_job),
            ("DELETE", r"/jobs/([^/]+)", self._delete_job),
            ("POST", r"/jobs/([^/]+)/tasks", self._add_task),
            ("GET", r"/jobs/([^/]+)/tasks", self._list_tasks),
            ("GET", r"/jobs/([^/]+)/tasks/([^/]+)", self._get_task),
            ("DELETE", r"/jobs/([^/]+)/tasks/([^/]+)", self._delete_task),
            ("POST", r"/jobs/([^/]+)/tasks/([^/]+)/terminate", self._terminate_task),
            ("GET", r"/jobs/([^/]+)/tasks/([^/]+)/files/(.+)", self._get_file),
        ]

    def answer(self, request: Request) -> Answer:
        """Answer a request with a token for Batch.

        Raises:
            ServiceError: as the real service would refuse it, or what is asked is not emulated.
        """
        check_token(request)
        contract.check(request)
        return route(self._routes, request)

    def _list_images(self, request: Request) -> Answer:
        value = [
            {
                "nodeAgentSKUId": agent,
                "imageReference": {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"},
                "osType": "linux",
                "capabilities": self.image_capabilities,
                "verificationType": "verified",
                **({"batchSupportEndOfLife": end} if end else {}),
            }
            for publisher, offer, sku, agent, end in self.images
        ]
        return _json({"value": value})

    def _pool(self, name: str) -> dict:
        pool = self._cluster.pools.get(name)
        if pool is None:
            raise ServiceError(404, "PoolNotFound", "The specified pool does not exist.")
        usable = pool.usable()
        dedicated = sum(node.dedicated for node in usable)
        value = {"id": name, "state": "active", "allocationState": "steady", "vmSize": pool.size}
        value |= {"targetDedicatedNodes": pool.asked.dedicated, "currentDedicatedNodes": dedicated}
        value |= {"targetLowPriorityNodes": pool.asked.spot, "currentLowPriorityNodes": len(usable) - dedicated}
        value |= {"taskSlotsPerNode": pool.slots_per_node, "metadata": pool.metadata}
        if pool.formula_error:
            value["autoScaleRun"] = {"timestamp": now(), "error": pool.formula_error}
        if pool.resize_error:
            value["resizeErrors"] = [pool.resize_error]
        return value

    def _list_pools(self, request: Request) -> Answer:
        return _json({"value": [_selected(request, self._pool(name)) for name in self._cluster.pools]})

    def _get_pool(self, request: Request, name: str) -> Answer:
        return _json(_selected(request, self._pool(name)))

    def _delete_pool(self, request: Request, name: str) -> Answer:
        self._pool(name)
        del self._cluster.pools[name]
        return Answer(202)

    def _list_nodes(self, request: Request, name: str) -> Answer:
        self._pool(name)
        nodes = self._cluster.pools[name].nodes
        value = [{"id": n.id, "state": n.state, "isDedicated": n.dedicated, "errors": n.errors} for n in nodes]
        return _json({"value": [_selected(request, node) for node in value]})

    def _add_job(self, request: Request) -> Answer:
        job = request.json()
        limits.check_name("Job", job["id"], self._cluster.jobs)
        if job["poolInfo"].get("poolId") not in self._cluster.pools:
            raise ServiceError(409, "PoolNotFound", "The specified pool does not exist.")
        quota = self._quota["activeJobAndJobScheduleQuota"]
        limits.check_quota("active job", 1, len(self._cluster.jobs), quota, "ActiveJobAndScheduleQuotaReached")
        self._cluster.jobs[job["id"]] = job
        return Answer(201)

    def _check_job(self, job: str) -> None:
        if job not in self._cluster.jobs:
            raise ServiceError(404, "JobNotFound", "The specified job does not exist.")

    def _delete_job(self, request: Request, job: str) -> Answer:
        self._check_job(job)
        self._cluster.delete_job(job)
        return Answer(202)

    def _add_task(self, request: Request, job: str) -> Answer:
        self._check_job(job)
        asked = request.json()
        limits.check_name("Task", asked["id"], [name for of, name in self._cluster.tasks if of == job])
        limits.check_task(asked, self._cluster.pools[self._cluster.jobs[job]["poolInfo"]["poolId"]])
        if self._cluster.added_tasks >= self._cluster.most_tasks:
            raise ServiceError(409, "ActiveTaskQuotaReached", f"the tests allow {self._cluster.most_tasks} tasks")
        self._cluster.add_task(job, asked)
        return Answer(201)

    def _task(self, job: str, name: str) -> Task:
        self._check_job(job)
        task = self._cluster.tasks.get((job, name))
        if task is None:
            raise ServiceError(404, "TaskNotFound", "The specified task does not exist.")
        return task

    def _task_json(self, task: Task, job: str) -> dict:
        with self._cluster.lock:
            value = {**task.asked, "state": task.state, "creationTime": task.created, "executionInfo": dict(task.info)}
            if task.node is not None:
                value["nodeInfo"] = {"poolId": self._cluster.jobs[job]["poolInfo"]["poolId"], "nodeId": task.node.id}
        return value

    def _list_tasks(self, request: Request, job: str) -> Answer:
        self._check_job(job)
        states = FILTER.fullmatch(request.query.get("$filter", ""))
        if states is None:
            raise ServiceError(400, "InvalidQueryParameterValue", f"$filter {request.query['$filter']} is not emulated")
        tasks = [task for key, task in list(self._cluster.tasks.items()) if key[0] == job]
        tasks = [task for task in tasks if task.state == (states[1] or task.state)]
        return _json({"value": [_selected(request, self._task_json(task, job)) for task in tasks]})

    def _get_task(self, request: Request, job: str, name: str) -> Answer:
        return _json(_selected(request, self._task_json(self._task(job, name), job)))

    def _delete_task(self, request: Request, job: str, name: str) -> Answer:
        self._cluster.delete_task(job, self._task(job, name))
        return Answer(200)

    def _terminate_task(self, request: Request, job: str, name: str) -> Answer:
        if (task := self._task(job, name)).state == "completed":
            raise ServiceError(409, "TaskCompleted", "The specified task is already in a completed state.")
        self._cluster.terminate(task)
        return Answer(204)

    def _get_file(self, request: Request, job: str, name: str, path: str) -> Answer:
        task = self._task(job, name)
        if task.node is None or task.node.state not in ("idle", "running"):
            raise ServiceError(409, "NodeNotReady", "The node of the task is gone, and its files with it.")
        file = self._inside(task.attempt_folder, path)
        return Answer(200, {"Content-Type": "application/octet-stream"}, file.read_bytes())

    def _inside(self, folder: Path, path: str) -> Path:
        file = (folder / path).resolve()
        if not file.is_file() or not file.is_relative_to(folder.resolve()):
            raise ServiceError(404, "FileNotFound", "The specified file does not exist.")
        return file
