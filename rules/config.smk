"""
Errors as a person reads them, and the first look at config/config.yaml: Snakemake names no line of a file that it cannot
read, takes the last of a key that stands there twice, and shows its own sources where it must not write.
"""

import errno
import os
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from snakemake.exceptions import WorkflowError

from pretrain_llama.errors import OperatorError, PretrainError, of_system


class ReadableError(WorkflowError):
    # Snakemake would print the traceback through our sources below what to do next.
    __traceback__ = None

    def __init__(self, error):
        super().__init__(f"{error.who} error: {error}")


@contextmanager
def readable_errors():
    try:
        yield
    except PretrainError as error:
        raise ReadableError(error) from None
    except OSError as error:
        if (readable := of_system(error)) is None:
            raise
        raise ReadableError(readable) from None


# Of the data nodes' image, too, which has no torch.
PACKAGES = ("blake3", "numpy", "orjson", "pyarrow", "sentencepiece", "tokenizers", "xxhash")

with readable_errors():
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise OperatorError(
            f"Python packages are missing: {', '.join(missing)}",
            where=sys.executable,
            action="make install && source .venv/bin/activate, then type the same command",
        )

if workflow.is_main_process and workflow.modifier.is_main_snakefile():
    from pretrain_llama import configuration

    with readable_errors():
        written = ".snakemake" if Path(".snakemake").exists() else "."
        if not os.access(written, os.W_OK):  # a dry-run writes its log there, too
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(Path(written).resolve()))
        for path in [*(workflow.overwrite_configfiles or ()), "config/config.yaml"]:
            if not workflow.overwrite_configfiles or Path(path).exists():
                configuration.read_keys(path)
