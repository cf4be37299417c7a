r"""List or remove files in results/ that belong to no corpus, tokenizer or run of the configuration.

    python scripts/remove_orphans.py
    python scripts/remove_orphans.py 'corpus en_code_python' 'tokenizer demo-8k.0a1b2c3d' --yes

Without --yes, nothing is removed. What a run that left the configuration has trained is in its folder: name it only if
it may go, too.
"""

import argparse
from pathlib import Path

from pretrain_llama import configuration, stores
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.status.known import known_of
from pretrain_llama.status.orphans import orphans, told_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("owners", nargs="*", help="to whom files belonged, as it is listed; all without this")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--results", default="results", help="where results lie: a folder, or az://container/path")
    parser.add_argument("--yes", action="store_true", help="remove the files of the owners that are named")
    args = parser.parse_args()
    if args.yes and not args.owners:
        parser.error("--yes goes with owners")
    return args


def main() -> None:
    args = parse_args()
    found = orphans(args.results, known_of(configuration.load_config(args.config), args.config, args.results))
    unknown = sorted(set(args.owners) - {orphan.owner for orphan in found})
    if unknown:
        raise ConfigError(
            f"nothing belonged to {unknown[0]!r}",
            where=args.results,
            action="name owners as scripts/remove_orphans.py lists them",
        )
    chosen = [orphan for orphan in found if not args.owners or orphan.owner in args.owners]
    for orphan in chosen:
        print(orphan.location)
        if args.yes:
            stores.delete(orphan.location)
    if args.yes:
        print(f"removed: {len(chosen):,} files, {sum(orphan.bytes for orphan in chosen):,} bytes")
    else:
        print(*told_of(chosen), sep="\n")


if __name__ == "__main__":
    run_program(main)
