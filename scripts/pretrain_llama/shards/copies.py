"""Refuse vendor files whose documents would be trained on twice: shared by corpora, copied, or also compressed.

A copy is of the same text, under whatever name; alike.py says how it is found. `duplicates: allow`, of a corpus or of
the configuration, says that copies are meant: nothing is read to prove them. Nor is anything of files that were planned
before, whose shards stay as they are: they are named.

What looks like a copy, and is refused if it is one, is read whole. That may take hours, so a preview does it only up to
1 GiB in all, and names what is left; a run reads all of it before its first job. Where files differ after all, that is
noted in the plans, and they are not read again.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, DataError, listed
from pretrain_llama.shards import alike
from pretrain_llama.shards.alike import VendorFile
from pretrain_llama.shards.planned import Plan
from pretrain_llama.shards.sources import OPENERS
from pretrain_llama.stores import SourceFile

Plans = Mapping[str, Plan]
READ_IN_PREVIEWS = 1 << 30
NEXT_LINE = "\n         "
AS_MEANT = (
    "if it is meant, give its row allow in a column duplicates, or all corpora by duplicates: allow in "
    "config/config.yaml"
)


@dataclass
class Copies:
    """The known copies among the files of all plans.

    Attributes:
        corpora: of the table, by name.
        recorded: their plans as they were recorded before.
        default: `duplicates` of the configuration, refuse or allow.
        notes: what a person should know.
    """

    corpora: dict[str, Corpus]
    recorded: Plans
    default: str
    notes: list[str] = field(default_factory=list)
    _unsettled: list[list[VendorFile]] = field(default_factory=list)

    def look(self, files: list[VendorFile], read: bool) -> None:
        """Sort out which files are alike: refuse, read whole, leave for later, or note them.

        Raises:
            DataError: a new file is a copy, and that is not allowed; or a file cannot be read.
        """
        planned, proven = [], []
        for same in alike.find(files, read):
            group = sorted((file for file in same.files if not self._is_allowed(file)), key=self._is_new)
            if len(group) < 2:
                continue
            if not self._is_new(group[-1]):
                planned.append(group)
            elif same.is_proven:
                proven.append(group)
            else:
                self._unsettled.append(group)
        self._refuse(proven)
        if read:
            self.settle(READ_IN_PREVIEWS)
        self._note(planned)

    def settle(self, most_bytes: float = float("inf")) -> None:
        """Read whole what looks like copies, the small ones first, and refuse those that are; see `look`.

        Args:
            most_bytes: to read in all; what is beyond them stays for another time.
        """
        chosen: list[list[VendorFile]] = []
        left: list[list[VendorFile]] = []
        for group in sorted(self._unsettled, key=_unread_bytes):
            is_enough = _unread_bytes(chain(*chosen, group)) > most_bytes
            (left if is_enough else chosen).append(group)
        read = list(chain(*chosen))
        alike.read_whole(read, f"compare {len(read)} files that look like copies")
        self._unsettled = left
        self._refuse([same.files for group in chosen for same in alike.find(group, read=False)])

    def _is_new(self, file: VendorFile) -> bool:
        recorded = self.recorded[file.corpus]["files"].get(file.path)
        return recorded is None or recorded["fingerprint"] != file.entry["fingerprint"]

    def _is_allowed(self, file: VendorFile) -> bool:
        return (self.corpora[file.corpus].duplicates or self.default) == "allow"

    def _refuse(self, groups: list[list[VendorFile]]) -> None:
        """Refuse the new ones among groups of copies, if there are any."""
        copies = [(file, files[0]) for files in groups for file in files[1:] if self._is_new(file)]
        if not copies:
            return
        problems = [f"{copy.path} holds the same text as {first.path}" for copy, first in copies]
        rows = dict.fromkeys(self.corpora[file.corpus].where for pair in copies for file in pair[::-1])
        raise DataError(
            f"{listed(problems, NEXT_LINE)}: its documents would be trained on twice",
            where=listed(list(rows), "; "),
            action=f"move what should not be trained on twice out of the source, or narrow the glob; {AS_MEANT}",
        )

    def _note(self, planned: list[list[VendorFile]]) -> None:
        pairs = [f"{file.path} and {group[0].path}" for group in planned for file in group[1:]]
        if pairs:
            self.notes.append(
                f"planned before, alike in all that was looked at, and trained on twice: "
                f"{listed(pairs, NEXT_LINE)}{NEXT_LINE}their shards stay as they are; {AS_MEANT}"
            )
        if self._unsettled:
            files = [file for group in self._unsettled for file in group]
            self.notes.append(
                f"these look like copies, by their size and beginning: {listed([file.path for file in files])}"
                f"{NEXT_LINE}a run reads them whole before its first job, {_unread_bytes(files):,} bytes, and refuses "
                "those that are copies"
            )


def look(plans: Plans, recorded: Plans, corpora: Iterable[Corpus], default: str, *, read: bool = True) -> Copies:
    """Look for files that would be taken twice.

    Args:
        plans: of all corpora, by name; what is read of their files is noted in them.
        recorded, corpora, default: see `Copies`.
        read: the files can be read; without that, Content-MD5s of a listing tell copies, and nothing else does.

    Raises:
        ConfigError: a file is in two corpora, with the same text key.
        DataError: see `Copies.look`.
    """
    copies = Copies({corpus.name: corpus for corpus in corpora}, recorded, default)
    check_apart(plans, copies.corpora.values())
    files = [file for plan in plans.values() for file in alike.files_of(plan)]
    copies.look(files, read)
    unknown = [] if read else alike.of_unknown_content(files)
    if unknown:
        copies.notes.append(
            f"{len(unknown):,} files are as large as others, or may be, compressed: whether they are copies is not "
            "known from a listing, but for blobs with a Content-MD5, and is found when they are planned without it"
        )
    return copies


def check_apart(plans: Plans, corpora: Iterable[Corpus]) -> None:
    """Check that no text of a file is in two corpora.

    Raises:
        ConfigError: two rows of the table have a file in common, and the same text key.
    """
    owners: dict[tuple[str, str], Corpus] = {}
    for corpus in corpora:
        for path in plans[corpus.name]["files"]:
            owner = owners.setdefault((path, corpus.text_key), corpus)
            if owner is not corpus:
                raise ConfigError(
                    f"{path} is in {owner.name} and in {corpus.name}: its documents would be trained on twice",
                    where=f"{owner.where}; {corpus.where}",
                    action="narrow one of the two globs",
                )


def check_compressed(new: Iterable[SourceFile], current: Container[str], where: str) -> None:
    """Check that no new file of a corpus lies there a second time, compressed, whatever is in the two.

    Raises:
        DataError: one does.
    """
    for file in new:
        for suffix in OPENERS:
            plain = file.path.removesuffix(suffix)
            compressed = plain + suffix
            if plain in current and compressed in current:
                raise DataError(
                    f"{plain} lies there compressed, too: its documents would be taken twice",
                    where=f"{where}; {compressed}",
                    action="move the one that is not planned yet out of the source, or narrow the glob",
                )


def _unread_bytes(files: Iterable[VendorFile]) -> int:
    return sum(file.text_bytes for file in files if "text_blake3" not in file.entry)
