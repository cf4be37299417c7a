r"""Check that no document is both trained on and held out for validation.

    python scripts/check_held_out.py --held-out results/validation/demo-8k.0a1b2c3d \
        --trained results/indexed/demo-8k.0a1b2c3d

Documents are compared by their ids, so both sides have to be of one tokenizer. The held-out ones take about 200 bytes
of memory each; of the others, only eight ids each are read, and the whole of those that look alike.
"""

import argparse
import re
from pathlib import Path

from pretrain_llama import names
from pretrain_llama.errors import ConfigError, DataError, listed, run_program
from pretrain_llama.progress import Progress
from pretrain_llama.tokenization.overlap import DocumentSet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", type=Path, required=True, help="folder of pairs for validation")
    parser.add_argument("--trained", type=Path, required=True, help="folder of pairs to train on")
    return parser.parse_args()


def pairs_in(folder: Path) -> list[Path]:
    """Return the prefixes of the pairs in a folder."""
    prefixes = sorted(path.with_suffix("") for path in folder.glob("*.idx"))
    if not prefixes:
        raise DataError("no .bin/.idx pair", where=folder, action="give the folder of the pairs: make them first")
    return prefixes


def main() -> None:
    args = parse_args()
    identities = [folder.resolve().name for folder in (args.held_out, args.trained)]
    if identities[0] != identities[1] and all(re.fullmatch(names.TOKENIZER, name) for name in identities):
        raise ConfigError(
            f"the pairs are of two tokenizers: {', '.join(identities)}",
            where=args.trained,
            action="compare pairs of one tokenizer, for documents are compared by their ids",
        )
    held_out, trained = DocumentSet(pairs_in(args.held_out)), pairs_in(args.trained)
    common = []
    with Progress(len(trained), "pairs", "compare") as progress:
        for prefix in trained:
            common += held_out.common_with(prefix)
            progress.advance(1)
    if common:
        shown = listed([f"{one.pair}, document {one.document}" for one in common], "\n    ")
        raise DataError(
            f"{len(common):,} documents are trained on and held out. The first:\n    {shown}",
            where=common[0].pair,
            action="use pairs that were tokenized with the same held_out_fraction; delete the others. If they were: a "
            "tokenizer without byte fallback writes other characters alike, as unknown; take one with it",
        )
    print(f"{len(trained):,} pairs to train on hold none of the {held_out.count:,} documents held out")


if __name__ == "__main__":
    run_program(main)
