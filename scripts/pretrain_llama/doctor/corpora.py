"""Check that the login may list the vendor's blobs in every container of the table of corpora."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pretrain_llama.checklist import Failed, Passed, Report
from pretrain_llama.doctor.login import explain, status_and_code
from pretrain_llama.doctor.storage import ROLE, Container
from pretrain_llama.doctor.variables import Settings
from pretrain_llama.errors import ConfigError
from pretrain_llama.stores import BLOB, globs


def check_sources(report: Report, settings: Settings, corpora: Path, credential: Any) -> None:
    """Ask every container of the table's sources for the first page of its listing."""
    folders = report.check(f"table of corpora {corpora}", lambda: _find_folders(corpora)) or {}
    for container, folder in folders.items():
        needs = (settings.storage_account, credential)
        its = None if None in needs else Container(replace(settings, container=container, prefix=folder), credential)
        report.check(f"vendor container {container}", _list, its)


def _find_folders(corpora: Path) -> Passed:
    """Find the containers, each with the folder in which its first source begins."""
    from pretrain_llama import configuration

    try:
        sources = [corpus.source for corpus in configuration.load_corpora(corpora)]
    except ConfigError as error:
        problem = str(error).partition("\n")[0]
        raise Failed(f"it cannot be read: {problem}", "correct it: snakemake --dry-run says where") from error
    folders: dict[str, str] = {}
    for source in (source for source in sources if source.startswith(BLOB)):
        container, _, path = globs.beginning(source).removeprefix(BLOB).partition("/")
        folders.setdefault(container, path.rpartition("/")[0])
    return Passed(f"{len(sources)} sources, in {len(folders)} containers", folders)


def _list(container: Container) -> Passed:
    from azure.core.exceptions import AzureError

    try:
        first = container.first_blob()
    except AzureError as error:
        if status_and_code(error)[0] == 404:
            raise Failed("it does not exist", "correct the sources in the table of corpora, or create it") from error
        raise explain(error, ROLE) from error
    if first is None:
        raise Failed(
            f"there is no blob below {container.prefix or 'it'}",
            "upload the vendor's files (docs/azure.md, step 7), or correct the sources in the table of corpora",
        )
    return Passed(f"{first} and so on")
