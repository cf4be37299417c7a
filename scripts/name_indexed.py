r"""Give a tokenized shard its counted name, by hard links, or by a copy inside the store; no tokens move here.

    python scripts/name_indexed.py --prefix results/tokenized/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document \
        --output-prefix results/indexed/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document_dc=9_sc=9_tc=700

Where the name counts fewer documents than the pair has, the .idx is written without those of PREFIX.dropped.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from pretrain_llama import stores
from pretrain_llama.duplicates.record import read_dropped
from pretrain_llama.errors import DataError, run_program
from pretrain_llama.files import link_or_copy, replacing
from pretrain_llama.names import Counts, parse_counted
from pretrain_llama.stores import references
from pretrain_llama.tokenization.indexed import HEADER, kept_index, read_counts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", required=True, help="tokenized pair, without .bin and .idx; a path or az://…")
    parser.add_argument("--output-prefix", type=Path, required=True, help="the same with counts: …_dc=…_sc=…_tc=…")
    parser.add_argument(
        "--store",
        default="",
        help="az://{container}/{path} of the output prefix: the pair is copied there, inside the store, and the "
        "outputs only refer to it",
    )
    return parser.parse_args()


def kept(prefix: str, output_prefix: Path) -> bytes | None:
    """Return the .idx of the documents that the output's name counts; None where those are all.

    Raises:
        DataError: they are neither all, nor those that are left when what was dropped is gone.
    """
    counts, wanted = read_counts(prefix), parse_counted(output_prefix.name).counts
    if counts == wanted:
        return None
    dropped = read_dropped(prefix)
    content = stores.read_range(f"{prefix}.idx", 0, stores.size_bytes(f"{prefix}.idx"))
    index = kept_index(content, dropped, prefix)
    lengths = np.frombuffer(index, np.int32, counts.documents - len(dropped), HEADER.size)
    left = Counts(len(lengths), len(lengths), int(lengths.sum(dtype=np.int64)))
    if left != wanted:
        without = f" ({left} without the copies that are dropped)" if len(dropped) else ""
        raise DataError(
            f"the pair holds {counts}{without}, not those of {output_prefix.name}",
            where=prefix,
            action="delete the pair, its receipt and the signature, and run again",
        )
    return index


def main() -> None:
    args = parse_args()
    index = kept(args.prefix, args.output_prefix)
    for suffix in (".bin", ".idx"):
        source, output = f"{args.prefix}{suffix}", f"{args.output_prefix}{suffix}"
        new = index if suffix == ".idx" else None
        if args.store:
            target = f"{args.store}{suffix}"
            if new is not None:
                stores.write_small(target, new)
            etag = stores.copy(source, target) if new is None else stores.etag_of(target)
            references.write(output, target, str(etag))
        elif new is not None:
            with replacing(output) as file:
                file.write(new)
        else:
            link_or_copy(source, output)
            os.utime(output)  # of a link, the pair's, which the receipt is newer than


if __name__ == "__main__":
    run_program(main)
