"""Copy what a person wrote into a run folder: what is known of a run, and without secrets."""

import shutil
from collections import Counter
from pathlib import Path

from pretrain_llama.errors import listed
from pretrain_llama.files import write_json, write_text
from pretrain_llama.launch.secrets import redacted
from pretrain_llama.mappings import YAML_SUFFIXES
from pretrain_llama.mixture import choices
from pretrain_llama.run.sweeps import MARK

REDACTED = "redacted.json"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


class Texts:
    """Copies texts, and counts by file what was taken out of them."""

    def __init__(self) -> None:
        self._found: dict[str, Counter[str]] = {}

    def write(self, text: str, target: Path) -> None:
        """Write a text without its secrets."""
        told, found = redacted(text)
        write_text(target, told)
        if found:
            self._found.setdefault(target.name, Counter()).update(found)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file with its mode, without secrets if it is a text; one that holds none byte by byte."""
        shutil.copy(source, target)
        try:
            text = source.read_bytes().decode()
        except UnicodeDecodeError:
            return
        if redacted(text)[1]:
            self.write(text, target)
            shutil.copymode(source, target)

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a folder of texts, but for what Python compiled."""
        shutil.copytree(
            source, target, ignore=LEFT_OUT, copy_function=lambda one, other: self.copy(Path(one), Path(other))
        )

    def tell(self, folder: Path) -> None:
        """Say what was taken out, and write it into a folder; nothing where nothing was."""
        if not self._found:
            return
        write_json(folder / REDACTED, self._found)
        told = [
            f"{file}: {', '.join(f'{name} ({count})' for name, count in c.items())}" for file, c in self._found.items()
        ]
        print(f"left out of the run folder, since they look like secrets: {listed(told, '; ')}", flush=True)


def chosen_files(run: Path) -> list[Path]:
    """Return the files of config/runs/<run>/ that say what a run is; says which others lie there, and stay there."""
    suffixes = (".json", *YAML_SUFFIXES)
    known = {"run.yaml", MARK, *(f"{name}{suffix}" for name in choices.FILES for suffix in suffixes)}
    chosen = [path for path in sorted(run.iterdir()) if path.name in known and path.is_file()]
    if others := [path.name for path in sorted(run.iterdir()) if path not in chosen]:
        print(f"left alone in {run}, since they are no part of a run: {listed(others)}", flush=True)
    return chosen
