"""Link a run folder's large parts to where a job has mounted them.

    python code/scripts/mount_parts.py . data=/mnt/data checkpoint=/mnt/checkpoint output=/mnt/output

For jobs whose code is the run folder without these (job.yaml). All processes of a node may do it at once.
"""

import argparse
import os
from pathlib import Path

from pretrain_llama.errors import OperatorError, run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder to complete")
    parser.add_argument("parts", nargs="+", metavar="NAME=FOLDER", help="part of the run folder, and where it is")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for part in args.parts:
        name, _, folder = part.partition("=")
        mount(args.run_folder / name, Path(folder))


def mount(link: Path, folder: Path) -> None:
    """Make `link` a link to a folder, at once or not at all.

    Raises:
        OperatorError: there is no such folder, or something else stands where the link belongs.
    """
    if not folder.is_dir():
        raise OperatorError("not mounted", where=f"{link.name}: {folder}", action="see the job's inputs and outputs")
    if link.exists() and not link.is_symlink():
        raise OperatorError(
            "a part of the run folder is here, and is also to be mounted",
            where=link,
            action="leave it out of the job's code: .amlignore",
        )
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    beside.symlink_to(folder.resolve())
    beside.replace(link)


if __name__ == "__main__":
    run_program(main)
