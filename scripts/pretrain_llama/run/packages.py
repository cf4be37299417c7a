"""Check the versions of the packages that a training depends on."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pretrain_llama.errors import OperatorError
from pretrain_llama.run.folder import RunFolder

MEGATRON_CORE = "megatron-core"
WRITTEN_FOR = "0.19"  # what saves, loads and steps, below this folder, calls functions that change between versions
# An image of NVIDIA's brings the last three, and a torch of its own.
PACKAGES = ("torch", MEGATRON_CORE, "transformer-engine", "flash-attn", "apex")


def installed() -> dict[str, str | None]:
    """Return the version of each of PACKAGES; None where it is not installed."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _minor(of: str | None) -> str:
    """Return the part of a version within which megatron-core's functions do not change: 0.19 of 0.19.2."""
    return ".".join((of or "none").split(".")[:2])


def check_trainer(folder: RunFolder) -> None:
    """Check that this trainer runs on the megatron-core that it was written for.

    Raises:
        OperatorError: another one is installed, or none.
    """
    found = _version(MEGATRON_CORE)
    if _minor(found) != WRITTEN_FOR:
        lock = folder.path / "sources" / "requirements.lock"
        raise OperatorError(
            f"these programs train with megatron-core {WRITTEN_FOR}, here is {found or 'none'}",
            where=Path(__file__).parent,
            action=f"activate an environment with the packages of {lock}, or install them: pip install -r {lock}",
        )


def check_programs(folder: RunFolder) -> None:
    """Check that the programs in a run folder were written for the megatron-core that is installed.

    Raises:
        OperatorError: they were not; says how the training goes on, with those of then or with those of now.
    """
    began, found = folder.manifest["versions"][MEGATRON_CORE], _version(MEGATRON_CORE)
    if _minor(began) == _minor(found):
        return
    name = folder.path.resolve().name
    raise OperatorError(
        f"the programs in this run folder train with megatron-core {began}, here is {found or 'none'}",
        where=folder.path / "manifest.json",
        action="to go on with the programs and packages of now, to the same losses: snakemake "
        f"results/runs/{name}/output/finished.json --forcerun write_run_folder; with those that it began with: "
        f"bash {folder.path / 'launch.sh'} in an environment with Python "
        f"{_minor(folder.manifest['versions']['python'])} and the packages of {folder.path}/sources/requirements.lock",
    )
