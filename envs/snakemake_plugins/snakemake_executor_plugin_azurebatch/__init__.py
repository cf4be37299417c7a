"""Azure Batch for Snakemake workflows with many tasks.

What it does, beside sending each job as a task (snakemake-executor-plugin-azure-batch, the official one, does less, and
through a version of the service's interface that is to be retired):

* a pool is made for the first task, not before: a run that is refused or has no task to send makes none;
* a rule's resource `vm_size` names a size of machine other than the pool's: there is a pool for each size in use;
* a pool grows with the tasks that wait and shrinks to nothing without them, so that one whose run was killed soon costs
  nothing; the next run of the same store deletes it;
* nodes log in to the registry, and tasks to the store, with the nodes' identity alone;
* a look at all tasks takes three requests a pool. What the service does not answer is asked again, and does not end the
  run; a task whose answer got lost is not sent twice, one that a person deleted is a failure;
* a task that has ended is deleted, and its files on the node with it: they would fill its disk. What a failed one
  printed is shown before;
* a task may use all cores of its node, and takes `runtime` minutes at most;
* tasks begin without a `pip install`: the image holds the plugins;
* account, subscription and so on are taken from SNAKEMAKE_AZURE_BATCH_…, where no option gives them.
"""

import logging
import secrets
import shlex
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from azure.batch import BatchClient, models
from azure.core.exceptions import AzureError
from azure.mgmt.batch import BatchManagementClient
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings
from snakemake_storage_plugin_azurestream import StorageObject
from snakemake_storage_plugin_azurestream.login import credential

from snakemake_executor_plugin_azurebatch import ledger
from snakemake_executor_plugin_azurebatch.answers import code_of, explained, status_of
from snakemake_executor_plugin_azurebatch.pool import pool_parameters
from snakemake_executor_plugin_azurebatch.settings import ExecutorSettings
from snakemake_executor_plugin_azurebatch.task import task_options

__all__ = ["Executor", "ExecutorSettings", "common_settings"]  # what Snakemake looks for

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,  # they are settings of the task
    auto_deploy_default_storage_provider=False,
)
BROKEN = (models.BatchNodeState.UNUSABLE, models.BatchNodeState.START_TASK_FAILED)
# The service tries again by itself where it had no machines to give.
PASSES = "Allocation"
# Jobs and tasks have names of their own: one that was added although its answer got lost is there the second time.
ALSO_POST = ("GET", "POST")
TASK = ["id", "displayName", "state", "executionInfo", "nodeInfo"]
NODE = ["id", "state", "errors", "startTaskInfo", "isDedicated"]
# The client watches what it was asked to delete; nobody waits for that.
WATCHED_EVERY_SECONDS = 60


@dataclass(frozen=True)
class Batch:
    """A pool and the Batch job that sends tasks to it, by their ids, and the size of its machines."""

    pool: str
    job: str
    vm_size: str = ""


class Executor(RemoteExecutor):
    """Sends each job as a task to a pool of its run and its size of machine."""

    def __post_init__(self) -> None:
        logging.getLogger("azure.batch").setLevel(logging.ERROR)  # it warns, at length, of answers that it did not read
        self.container_image = self.workflow.remote_execution_settings.container_image
        self.settings = self.workflow.executor_settings
        self._batches: dict[str, Batch] = {}  # by size of machine
        self._dedicated: dict[tuple[str | None, str], bool | None] = {}  # by pool and node, as far as they were seen
        self._told: set[str] = set()

    @property
    def cores(self) -> str:
        """What a task may use; the submitting machine's cores say nothing about it."""
        return "all"

    def run_job(self, job: JobExecutorInterface) -> None:
        """Send a job as a task."""
        batch = self._batch_for(self._vm_size(job))
        command = f"/bin/bash -c {shlex.quote(self.format_job_exec(job))}"
        client_id = self.settings.managed_identity_client_id
        task = task_options(job, self.container_image, self.envvars(), client_id, command)
        info = SubmittedJobInfo(job, external_jobid=task.id, aux={"batch": batch})
        try:
            self._add(batch, task)
        except AzureError as error:
            self.report_job_error(info, msg=f"cannot add a task: {error.message}. ")
        else:
            self.report_job_submission(info)

    def _add(self, batch: Batch, task: models.BatchTaskCreateOptions) -> None:
        """Add a task; one whose answer got lost, and which its repetition finds there, was added."""
        try:
            self._client.create_task(batch.job, task, retry_on_methods=ALSO_POST)
        except AzureError:
            if not self._is_there(batch, task.id):
                raise

    def _is_there(self, batch: Batch, task: str) -> bool:
        try:
            self._client.get_task(batch.job, task, select=["id"])
        except AzureError as error:
            if status_of(error) != 404:
                raise
            return False
        return True

    def _vm_size(self, job: JobExecutorInterface) -> str:
        return job.resources.get("vm_size") or self.settings.pool_vm_size

    def _batch_for(self, vm_size: str) -> Batch:
        """Return the pool of a size, made for its first task."""
        if not self._batches:
            self._client = BatchClient(self.settings.account_url, credential())
            self._management = BatchManagementClient(credential(), self.settings.subscription_id)
            try:
                self._delete_pools_of(self._store())
            except AzureError as error:
                todo = "check the login and its role in the Batch account: make azure-doctor; then run again"
                why = f"cannot list the pools of {self.settings.account_url}: {error.message}"
                raise WorkflowError(f"{why}\n{todo}") from None
        if vm_size not in self._batches:
            self._make_pool_and_job(vm_size)
        return self._batches[vm_size]

    def _store(self) -> str:
        """Return where results lie. Accounts with a container of the same name may share a Batch account."""
        account = self.workflow.storage_registry.default_storage_provider.settings.account_name
        return f"{self.workflow.storage_settings.default_storage_prefix} of {account}"

    def _make_pool_and_job(self, vm_size: str) -> None:
        run = f"{datetime.now():%Y-%m-%dT%H-%M-%S}-{secrets.token_hex(3)}"
        batch = self._batches[vm_size] = Batch(f"snakepool-{run}", f"snakejob-{run}", vm_size)  # the end deletes both
        tasks = sum(not job.is_local and self._vm_size(job) == vm_size for job in self.dag.needrun_jobs())
        settings = replace(self.settings, pool_vm_size=vm_size)
        self.logger.info(f"Creating Batch Pool: {batch.pool} of {vm_size}")
        parameters = pool_parameters(batch.pool, settings, self.container_image, self._store(), tasks)
        account = (self.settings.resource_group_name, self.settings.account_name)
        try:
            self._management.pool.create(*account, batch.pool, parameters)
        except AzureError as error:
            raise WorkflowError(f"cannot make a pool: {error.message}") from error
        self._add_job(batch)

    def _add_job(self, batch: Batch) -> None:
        """Add the job; one of its name, which is this run's alone, is the one whose answer got lost."""
        self.logger.info(f"Creating Batch Job: {batch.job}")
        once = models.BatchJobConstraints(max_task_retry_count=0)  # Snakemake retries
        pool = models.BatchPoolInfo(pool_id=batch.pool)
        job = models.BatchJobCreateOptions(id=batch.job, constraints=once, pool_info=pool)
        try:
            self._client.create_job(job, retry_on_methods=ALSO_POST)
        except AzureError as error:
            if code_of(error) != "JobExists":
                raise WorkflowError(f"cannot add a job: {error.message}") from error

    def _delete_pools_of(self, store: str) -> None:
        """Delete what a killed run of this store left: this run has claimed the store by now."""
        for pool in self._client.list_pools(select=["id", "state", "metadata"]):
            labels = {label.name: label.value for label in pool.metadata or []}
            if labels.get("store") == store and pool.state == models.BatchPoolState.ACTIVE:
                self.logger.info(f"Deleting Batch Pool {pool.id}, left by {labels.get('started_by')}")
                self._delete(Batch(pool.id, pool.id.replace("snakepool-", "snakejob-")))

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report the tasks that have ended, and yield the others.

        Snakemake's thread begins to ask before `__post_init__`, while there is no job; if that raised, the thread would
        end, and the run wait for ever.
        """
        if not active_jobs:
            return
        for batch in list(self._batches.values()):
            if own := [job for job in active_jobs if job.aux["batch"] == batch]:
                async for job in self._check(batch, own):
                    yield job

    async def _check(self, batch: Batch, jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        tasks, gone, lost = {}, [], None
        try:
            async with self.status_rate_limiter:
                listed = self._client.list_tasks(batch.job, select=TASK)
                tasks = {task.id: task for task in listed}
                missing = [job.external_jobid for job in jobs if job.external_jobid not in tasks]
                gone = [task for task in missing if not self._is_there(batch, task)]
                lost = self._without_hope(batch.pool)
        except AzureError as error:
            if status_of(error) == 404:
                lost = f"the Batch job {batch.job} or its pool is gone: somebody deleted it"
            else:
                self._tell_once(f"the Batch service does not tell how tasks are, asking again: {error.message}")
        for job in jobs:
            task = tasks.get(job.external_jobid)
            if task is not None and task.state == models.BatchTaskState.COMPLETED:
                self._report(job, task)
            elif job.external_jobid in gone:
                self.report_job_error(job, msg=f"the Batch task {job.external_jobid} is gone: somebody deleted it. ")
            elif lost:
                self.report_job_error(job, msg=f"{lost}. ")
            else:
                yield job

    def _report(self, job: SubmittedJobInfo, task: models.BatchTask) -> None:
        info, batch = task.execution_info, job.aux["batch"]
        for file in [*job.job.output, getattr(job.job, "benchmark", None)]:
            if file and file.is_storage and isinstance(file.storage_object, StorageObject):
                file.storage_object.forget()  # it was written on a node
        if info.result == models.BatchTaskExecutionResult.SUCCESS:
            self.report_job_success(job)
        else:
            out, err = (self._printed(batch, task.id, f"{name}.txt") for name in ("stdout", "stderr"))
            self.report_job_error(job, f"Batch task failed: {explained(info.failure_info)}. ", stdout=out, stderr=err)
        self._record(batch, task)
        try:
            self._client.delete_task(batch.job, task.id)
        except AzureError as error:
            self.logger.debug(f"task {task.id} is left until the end of the run: {error.message}")

    def _record(self, batch: Batch, task: models.BatchTask) -> None:
        if self.settings.task_log:
            node = (batch.pool, task.node_info.node_id) if task.node_info else (batch.pool, "")
            dedicated = self._dedicated.get(node)
            ledger.record(Path(self.settings.task_log), batch.vm_size, self.settings.tasks_per_node, dedicated, task)

    def _printed(self, batch: Batch, task: str, file: str) -> str:
        """Return what a task printed, or why nobody knows: its node may be gone."""
        try:
            return b"".join(self._client.download_task_file(batch.job, task, file)).decode(errors="backslashreplace")
        except AzureError as error:
            return f"{file} cannot be read: {error.message}"

    def _without_hope(self, pool_id: str) -> str | None:
        """Say why no task will ever run, or None; tell of nodes and errors that others make up for."""
        pool = self._client.get_pool(pool_id, select=["allocationState", "resizeErrors", "autoScaleRun"])
        nodes = list(self._client.list_nodes(pool_id, select=NODE))
        self._dedicated |= {(pool_id, node.id): node.is_dedicated for node in nodes}
        why = [explained(error) for error in pool.resize_errors or []]
        if pool.auto_scale_run and pool.auto_scale_run.error:  # the service evaluates the formula again and again
            self._tell_once(f"Batch pool {pool_id} does not scale: {explained(pool.auto_scale_run.error)}")
        for node in nodes:
            if node.state in BROKEN:
                reasons = [*(node.errors or []), getattr(node.start_task_info, "failure_info", None)]
                why += [f"node {node.id} is {node.state}: {explained(reason)}" for reason in reasons if reason]
        for trouble in why:
            self._tell_once(f"Batch pool {pool_id}: {trouble}")
        grows = pool.allocation_state != models.AllocationState.STEADY
        works = grows or any(node.state not in BROKEN for node in nodes)
        final = [trouble for trouble in why if not trouble.startswith(PASSES)]
        return f"the Batch pool has no node that works: {'; '.join(final)}" if final and not works else None

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self.logger.warning(message)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Do nothing: the jobs are deleted at once by `shutdown`, and its tasks with it."""

    def shutdown(self) -> None:
        """Delete the pools and their jobs; called at the end of the run, whatever it was."""
        if not self.settings.keep_pool:
            for batch in self._batches.values():
                self._delete(batch)
        super().shutdown()

    def _delete(self, batch: Batch) -> None:
        """Delete a job and its pool; one that is gone, or is being deleted, is no error."""
        for name, delete, by_hand in (
            (batch.job, self._client.begin_delete_job, f"`az batch job delete --job-id {batch.job} --yes`"),
            (batch.pool, self._client.begin_delete_pool, f"`az batch pool delete --pool-id {batch.pool} --yes`"),
        ):
            try:
                delete(name, polling_interval=WATCHED_EVERY_SECONDS)
            except AzureError as error:
                if status_of(error) not in (404, 409):
                    self.logger.error(f"cannot delete {name}: {error.message}; try: {by_hand}")
