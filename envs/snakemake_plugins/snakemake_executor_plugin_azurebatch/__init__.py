"""Azure Batch for Snakemake workflows with many tasks.

It is snakemake-executor-plugin-azure-batch 0.3.0 with these differences:

* the pool is made for the first task, not before: a run that is refused or has no task to send makes none;
* a rule's resource `vm_size` names a size of machine other than the pool's: there is a pool for each size in use;
* it grows with the tasks that wait and shrinks to nothing without them, so that a pool whose run was killed soon costs
  nothing; the next run of the same store deletes it. The original's pool is of a fixed size, and stays;
* nodes speak to the service in the simplified mode, and log in to the registry with their identity alone. The original
  asks for the classic mode, which ended on 2026-03-31, and sends the word "None" as user and password;
* a look at all tasks takes three requests a pool; the original makes three for each task. What the service does not
  answer is asked again, and does not end the run; a task whose answer got lost is not sent twice, one that a person
  deleted is a failure;
* a task that has ended is deleted, and its files on the node with it: they would fill its disk. What a failed one
  printed is shown before;
* a task may use all cores of its node, not as many as the submitting machine has, and takes `runtime` minutes at most;
* tasks begin without a `pip install`: the image holds the plugins;
* account, subscription and so on are taken from SNAKEMAKE_AZURE_BATCH_…, where no option gives them.
"""

import os
import secrets
import shlex
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

import azure.batch.models as bm
import snakemake_executor_plugin_azure_batch as original
from azure.core.exceptions import AzureError
from msrest.exceptions import ClientException
from snakemake_executor_plugin_azure_batch import build
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_storage_plugin_azurestream import StorageObject

from snakemake_executor_plugin_azurebatch.pool import pool_parameters

common_settings = replace(
    original.common_settings,
    auto_deploy_default_storage_provider=False,
    pass_envvar_declarations_to_cmd=False,  # they are settings of the task
)
# azure-batch 14 and azure-mgmt-batch have two families of errors.
ServiceErrors = (ClientException, AzureError)
BROKEN = (bm.ComputeNodeState.unusable, bm.ComputeNodeState.start_task_failed)
# The service tries again by itself where it had no machines to give.
PASSES = "Allocation"
OTHER_OPTIONS = "--azure-batch-"


@dataclass
class ExecutorSettings(original.ExecutorSettings):
    """The original's; the pool's node count is the most that there shall be."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            if setting.metadata["env_var"] and getattr(self, setting.name) is None:
                setattr(self, setting.name, os.environ.get(f"SNAKEMAKE_AZURE_BATCH_{setting.name.upper()}"))


@dataclass(frozen=True)
class Batch:
    """A pool and the Batch job that sends tasks to it, by their ids."""

    pool: str
    job: str


class Executor(original.Executor):
    """Sends each job as a task to a pool of its run and its size of machine."""

    def __post_init__(self) -> None:
        self.container_image = self.workflow.remote_execution_settings.container_image
        self.settings = self.workflow.executor_settings
        self._batches: dict[str, Batch] = {}  # by size of machine
        self._told: set[str] = set()
        for option in (word for word in sys.argv if word.startswith(OTHER_OPTIONS)):
            ours = option.replace(OTHER_OPTIONS, "--azurebatch-")
            raise WorkflowError(f"{option} is of another executor and would do nothing here: use {ours}")

    @property
    def cores(self) -> str:
        """What a task may use; the submitting machine's cores, which the original passes on, say nothing about it."""
        return "all"

    def run_job(self, job: JobExecutorInterface) -> None:
        """Send a job as a task."""
        batch = self._batch_for(self._vm_size(job))
        command = f"/bin/bash -c {shlex.quote(self.format_job_exec(job))}"
        task = build.batch_task(job, self.container_image, self.envvars(), command)
        if minutes := job.resources.get("runtime"):
            task.constraints = bm.TaskConstraints(max_wall_clock_time=timedelta(minutes=minutes))
        info = SubmittedJobInfo(job, external_jobid=task.id, aux={"batch": batch})
        try:
            self._add(batch, task)
        except ServiceErrors as error:
            self.report_job_error(info, msg=f"cannot add a task: {error}. ")
        else:
            self.report_job_submission(info)

    def _add(self, batch: Batch, task: bm.TaskAddParameter) -> None:
        """Add a task; one whose answer got lost, and which its repetition finds there, was added."""
        try:
            self.batch_client.task.add(batch.job, task)
        except ServiceErrors:
            if not self._is_there(batch, task.id):
                raise

    def _is_there(self, batch: Batch, task: str) -> bool:
        try:
            self.batch_client.task.get(batch.job, task, bm.TaskGetOptions(select="id"))
        except ServiceErrors as error:
            if _status(error) != 404:
                raise
            return False
        return True

    def _vm_size(self, job: JobExecutorInterface) -> str:
        return job.resources.get("vm_size") or self.settings.pool_vm_size

    def _batch_for(self, vm_size: str) -> Batch:
        """Return the pool of a size, made for its first task."""
        if not self._batches:
            self.init_batch_client()
            try:
                self._delete_pools_of(self._store())
            except ServiceErrors as error:
                todo = "check the login and its role in the Batch account: make azure-doctor; then run again"
                raise WorkflowError(f"cannot list the pools of {self.settings.account_url}: {error}\n{todo}") from None
        if vm_size not in self._batches:
            self._make_pool_and_job(vm_size)
        return self._batches[vm_size]

    def _store(self) -> str:
        """Return where results lie. Accounts with a container of the same name may share a Batch account."""
        account = self.workflow.storage_registry.default_storage_provider.settings.account_name
        return f"{self.workflow.storage_settings.default_storage_prefix} of {account}"

    def _make_pool_and_job(self, vm_size: str) -> None:
        run = f"{datetime.now():%Y-%m-%dT%H-%M-%S}-{secrets.token_hex(3)}"
        self.pool_id, self.job_id = f"snakepool-{run}", f"snakejob-{run}"
        self._batches[vm_size] = Batch(self.pool_id, self.job_id)  # the end deletes what came of it
        tasks = sum(not job.is_local and self._vm_size(job) == vm_size for job in self.dag.needrun_jobs())
        settings = replace(self.settings, pool_vm_size=vm_size)
        self.logger.info(f"Creating Batch Pool: {self.pool_id} of {vm_size}")
        try:
            self.batch_mgmt_client.pool.create(
                self.settings.resource_group_name,
                self.settings.batch_account_name,
                self.pool_id,
                pool_parameters(self.pool_id, settings, self.container_image, self._store(), tasks),
            )
        except AzureError as error:
            raise WorkflowError(f"cannot make a pool: {error.message}") from error
        self._add_job(self._batches[vm_size])

    def _add_job(self, batch: Batch) -> None:
        """Add the job; one of its name, which is this run's alone, is the one whose answer got lost."""
        self.logger.info(f"Creating Batch Job: {batch.job}")
        once = bm.JobConstraints(max_task_retry_count=0)  # Snakemake retries
        pool = bm.PoolInformation(pool_id=batch.pool)
        try:
            self.batch_client.job.add(bm.JobAddParameter(id=batch.job, constraints=once, pool_info=pool))
        except ServiceErrors as error:
            if getattr(getattr(error, "error", None), "code", None) != "JobExists":
                raise WorkflowError(f"cannot add a job: {error}") from error

    def _delete_pools_of(self, store: str) -> None:
        """Delete what a killed run of this store left: this run has claimed the store by now."""
        pools = self.batch_client.pool.list(bm.PoolListOptions(select="id,state,metadata"))
        for pool in pools:
            labels = {label.name: label.value for label in pool.metadata or []}
            if labels.get("store") == store and pool.state == bm.PoolState.active:
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
                options = bm.TaskListOptions(select="id,state,executionInfo")
                tasks = {task.id: task for task in self.batch_client.task.list(batch.job, options)}
                missing = [job.external_jobid for job in jobs if job.external_jobid not in tasks]
                gone = [task for task in missing if not self._is_there(batch, task)]
                lost = self._without_hope(batch.pool)
        except ServiceErrors as error:
            if _status(error) == 404:
                lost = f"the Batch job {batch.job} or its pool is gone: somebody deleted it"
            else:
                self._tell_once(f"the Batch service does not tell how tasks are, asking again: {error}")
        for job in jobs:
            task = tasks.get(job.external_jobid)
            if task is not None and task.state == bm.TaskState.completed:
                self._report(job, task)
            elif job.external_jobid in gone:
                self.report_job_error(job, msg=f"the Batch task {job.external_jobid} is gone: somebody deleted it. ")
            elif lost:
                self.report_job_error(job, msg=f"{lost}. ")
            else:
                yield job

    def _report(self, job: SubmittedJobInfo, task: bm.CloudTask) -> None:
        info, batch = task.execution_info, job.aux["batch"]
        for file in [*job.job.output, getattr(job.job, "benchmark", None)]:
            if file and file.is_storage and isinstance(file.storage_object, StorageObject):
                file.storage_object.forget()  # it was written on a node
        if info.result == bm.TaskExecutionResult.success:
            self.report_job_success(job)
        else:
            out, err = (self._get_task_output(batch.job, task.id, name, "utf-8") for name in ("stdout", "stderr"))
            self.report_job_error(job, f"Batch task failed: {_explained(info.failure_info)}. ", stdout=out, stderr=err)
        try:
            self.batch_client.task.delete(batch.job, task.id)
        except ServiceErrors as error:
            self.logger.debug(f"task {task.id} is left until the end of the run: {error}")

    def _without_hope(self, pool_id: str) -> str | None:
        """Say why no task will ever run, or None; tell of nodes and errors that others make up for."""
        wanted = bm.PoolGetOptions(select="allocationState,resizeErrors,autoScaleRun")
        pool = self.batch_client.pool.get(pool_id, wanted)
        options = bm.ComputeNodeListOptions(select="id,state,errors,startTaskInfo")
        nodes = list(self.batch_client.compute_node.list(pool_id, options))
        why = [_explained(error) for error in pool.resize_errors or []]
        if pool.auto_scale_run and pool.auto_scale_run.error:  # the service evaluates the formula again and again
            self._tell_once(f"Batch pool {pool_id} does not scale: {_explained(pool.auto_scale_run.error)}")
        for node in nodes:
            if node.state in BROKEN:
                reasons = [*(node.errors or []), getattr(node.start_task_info, "failure_info", None)]
                why += [f"node {node.id} is {node.state.value}: {_explained(reason)}" for reason in reasons if reason]
        for trouble in why:
            self._tell_once(f"Batch pool {pool_id}: {trouble}")
        works = pool.allocation_state != bm.AllocationState.steady or any(node.state not in BROKEN for node in nodes)
        final = [trouble for trouble in why if not trouble.startswith(PASSES)]
        return f"the Batch pool has no node that works: {'; '.join(final)}" if final and not works else None

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self.logger.warning(message)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Do nothing: the jobs are deleted at once by `shutdown`, and its tasks with it."""

    def cleanup_resources(self) -> None:
        """Delete the pools and their jobs; called at the end of the run, whatever it was."""
        if not self.settings.keep_pool:
            for batch in self._batches.values():
                self._delete(batch)

    def _delete(self, batch: Batch) -> None:
        """Delete a pool and its job; one that is gone, or is being deleted, is no error."""
        for kind, name in (("job", batch.job), ("pool", batch.pool)):
            try:
                getattr(self.batch_client, kind).delete(name)
            except ServiceErrors as error:
                if _status(error) not in (404, 409):
                    by_hand = f"az batch {kind} delete --{kind}-id {name} --yes"
                    self.logger.error(f"cannot delete the Batch {kind} {name}: {error}; try: {by_hand}")


def _status(error: Exception) -> int | None:
    """Return the HTTP status of a refusal; None where no answer came."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _explained(error: bm.ResizeError | bm.ComputeNodeError | bm.TaskFailureInformation | None) -> str:
    """Return an error of the service in words: code, message, details."""
    if error is None:
        return "the service does not say why"
    details = getattr(error, "details", None) or getattr(error, "error_details", None) or getattr(error, "values", None)
    return ": ".join([f"{error.code}", f"{error.message}", *(f"{item.name} {item.value}" for item in details or [])])
