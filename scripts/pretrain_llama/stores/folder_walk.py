"""Find the local files that a glob matches, whatever lies in the folders; what cannot be taken is told, all of it.

It matches as glob.glob does: ** descends, also through links, and hidden names need a dot in the glob. Unlike that, it
enters each folder once, so that links in a circle have an end, and says what it cannot enter or read.
"""

import os
import stat
from pathlib import Path

from pretrain_llama.errors import ConfigError, DataError, PretrainError, of_system
from pretrain_llama.stores import globs
from pretrain_llama.stores.locations import SourceFile

TWICE = "its documents would be taken twice"
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class FolderWalk:
    """One walk after one glob.

    Attributes:
        found: the regular files that match, which this process may read, each once.
        problems: what lies where the glob matches, and cannot be taken.
    """

    def __init__(self, pattern: str, where: str) -> None:
        """pattern: the glob; where: it was given, for messages."""
        self.found: dict[str, SourceFile] = {}
        self.problems: list[PretrainError] = []
        self._where = where
        self._parts = pattern.split("/")
        self._components = globs.components(pattern)
        self._entered: dict[tuple[int, int, int], str] = {}
        self._again: list[tuple[str, str]] = []
        self._files: dict[tuple[int, int], str] = {}
        self._waiting: list[tuple[str | None, int]] = [(None, 0)]  # folders, and what is to be matched in them
        while self._waiting:
            self._enter(*self._waiting.pop())
        self._tell_of_folders()

    def _enter(self, folder: str | None, index: int) -> None:
        """Match the components from `index` on in a folder; None is the beginning of the glob, here or at the root."""
        component, is_last = self._components[index], index == len(self._components) - 1
        if folder is not None and not self._is_first_visit(folder, index):
            return
        if isinstance(component, str):
            path = component if folder is None else f"{folder}/{component}"
            if is_last:
                if os.path.lexists(path):
                    self._take(path)
            elif self._is_folder(path or "/", Path(path).is_symlink()):
                self._waiting.append((path, index + 1))
            return
        if component is None and not is_last:
            self._waiting.append((folder, index + 1))
        below = []
        for entry in self._listed(folder):
            path = entry.name if folder is None else f"{folder}/{entry.name}"
            if not globs.is_match(component, entry.name):
                continue
            if (not is_last or component is None) and self._is_folder(path, entry.is_symlink(), is_last):
                below.append((path, index if component is None else index + 1))
            elif is_last:
                self._take(path)
        self._waiting += reversed(below)

    def _listed(self, folder: str | None) -> list[os.DirEntry]:
        try:
            with os.scandir("." if folder is None else folder or "/") as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._cannot(error, folder or "/")
            return []

    def _is_first_visit(self, folder: str, index: int) -> bool:
        """Say whether a folder is entered for the first time, to match this component in it."""
        try:
            status = os.stat(folder or "/")
        except OSError as error:
            self._cannot(error, folder)
            return False
        first = self._entered.setdefault((status.st_dev, status.st_ino, index), folder)
        # Not every file system has a number of its own for each folder.
        if first == folder or os.path.realpath(first) != os.path.realpath(folder):
            return True
        self._again.append((first, folder))
        return False

    def _is_folder(self, path: str, is_link: bool, is_taken: bool = False) -> bool:
        """Say whether a path is a folder; is_taken: what is none will be looked at as a file."""
        try:
            return stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError:
            if is_link and not is_taken:
                self._leads_nowhere(path)
        except NotADirectoryError:
            pass
        except OSError as error:
            if not is_taken:
                self._cannot(error, path)
        return False

    def _take(self, path: str) -> None:
        """Take a file, or say why that cannot be."""
        try:
            path.encode()
            status = os.stat(path)
        except FileNotFoundError:
            return self._leads_nowhere(path)
        except OSError as error:
            return self._cannot(error, path)
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode(errors="backslashreplace")
            return self._refuse(DataError("the file's name is no UTF-8", where=shown, action="rename it"))
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):  # a pipe may hang whoever reads it
            kind = KINDS.get(stat.S_IFMT(status.st_mode), "a device")
            return self._refuse(ConfigError(f"no file, but {kind}", where=path, action="narrow the glob, or remove it"))
        other = self._files.setdefault((status.st_dev, status.st_ino), path)
        if other != path and (status.st_nlink > 1 or os.path.realpath(other) == os.path.realpath(path)):
            problem, action = f"{path} and {other} are one file: {TWICE}", "narrow the glob, or remove the link"
            return self._refuse(ConfigError(problem, where=self._where, action=action))
        if not os.access(path, os.R_OK):
            return self._cannot(PermissionError(13, "permission denied"), path)
        self.found[path] = SourceFile(path, status.st_size, status.st_mtime_ns)
        return None

    def _tell_of_folders(self) -> None:
        """Tell of folders that were come to twice, where they hold what the glob matches."""
        folders = {str(folder) for path in self.found for folder in Path(path).parents} if self._again else set()
        for first, again in self._again:
            if (str(Path(first))) not in folders:
                continue
            problem = f"{again} and {first} are one folder: {TWICE}"
            if Path(again).is_relative_to(first):
                problem = f"{again} leads back to {first}, in which it lies: {TWICE}"
            self._refuse(ConfigError(problem, where=self._where, action="narrow the glob, or remove the link"))

    def _leads_nowhere(self, path: str) -> None:
        self._refuse(DataError("a link leads nowhere", where=path, action="remove it, or bring back the file"))

    def _cannot(self, error: OSError, path: str) -> None:
        if Path(path).is_symlink() and not isinstance(error, PermissionError):  # to itself, or in a circle
            return self._leads_nowhere(path)
        error.filename = path
        told = of_system(error) or DataError(str(error), where=path, action="mend the file system, or narrow the glob")
        return self._refuse(told)

    def _refuse(self, problem: PretrainError) -> None:
        self.problems.append(problem)
