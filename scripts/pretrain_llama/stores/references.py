"""Reference files, which stand for a blob in the store: {"lies_at": "az://{container}/{path}", "etag": "…"}.

Snakemake's storage layer takes such a file for the blob that it names, and uploads nothing. A job on another machine
gets the blob; one on the machine that made the reference gets the reference.
"""

import json
import shutil
from pathlib import Path

from pretrain_llama import files, stores

MOST_BYTES = 4096


def write(path: str | Path, location: str, etag: str) -> None:
    """Write a reference to the blob at a location, with its ETag."""
    files.write_json(path, {"lies_at": location, "etag": etag})


def resolve(path: str | Path) -> None:
    """Replace a reference by what it refers to; leave any other file as it is.

    Raises:
        DataError: the blob is gone, or is another one by now.
        OperatorError: the store fails.
    """
    if stores.size_bytes(path) > MOST_BYTES:
        return
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError:
        return
    if not isinstance(content, dict) or content.keys() != {"lies_at", "etag"}:
        return
    with stores.open_binary(content["lies_at"], content["etag"]) as blob, files.replacing(path) as file:
        shutil.copyfileobj(blob, file, stores.BLOCK_BYTES)
