"""Find vendor files that hold the same text, or look as if they did, whether compressed or not.

From cheap to dear, each step only among the files that the one before leaves alike:

    size       of plain files, and of the text columns of Parquet files, uncompressed; that of a .gz or .zst is not
               known before it is read: gzip tells that of the last member, zstandard that of the first frame, or none
    content    where all are plain files here, their fingerprints; where all are plain blobs with a Content-MD5, that;
               otherwise, so also where one of the same text key is a .gz or .zst, the first 32 KiB of their text
    whole      BLAKE3 of all of their text, which `read_whole` makes of those that it is asked to

Equal fingerprints of files up to 128 KiB, equal MD5s and equal BLAKE3s are proof. What was read is noted in a file's
entry of its plan, and is not read again:

    told_bytes    of all but plain files: bytes of text that the format tells, null where it tells none
    content_md5   of a blob, as the store lists it
    beginning     BLAKE3 of the first 32 KiB of its text, "" where that is white space alone
    text_blake3   BLAKE3 of its text
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from blake3 import blake3

from pretrain_llama import stores
from pretrain_llama.progress import Progress
from pretrain_llama.shards.planned import Plan, PlannedFile
from pretrain_llama.shards.sources import OPENERS, beginning_of, blocks_of, format_of, text_size
from pretrain_llama.stores import FINGERPRINT_BYTES, SourceFile

BEGINNING_BYTES = 1 << 15


@dataclass(frozen=True)
class VendorFile:
    """A vendor file in the plan of a corpus; `entry` is the plan's, and takes what is read of the file."""

    corpus: str
    text_key: str
    path: str
    entry: PlannedFile

    @cached_property
    def kind(self) -> str:
        """The kind of its bytes where they are not its lines: .gz, .zst, .parquet, or nothing."""
        return format_of(self.path)

    @property
    def listed(self) -> SourceFile:
        """The file as it was listed."""
        etag = self.entry["fingerprint"] if stores.is_blob(self.path) else ""
        return SourceFile(self.path, self.entry["size_bytes"], self.entry["mtime_ns"], etag)

    @property
    def text_bytes(self) -> int:
        """Bytes of its text at least, where it was not packed to no gain: a format may tell those of a part alone."""
        return max(self.entry.get("told_bytes") or 0, self.entry["size_bytes"])


@dataclass(frozen=True)
class Alike:
    """Two files or more that hold the same text, where that `is_proven`, or look as if they did."""

    files: list[VendorFile]
    is_proven: bool


def files_of(plan: Plan) -> list[VendorFile]:
    """Return the files of a plan that hold anything."""
    files = [VendorFile(plan["corpus"], plan["text_key"], path, entry) for path, entry in plan["files"].items()]
    return [file for file in files if file.entry["size_bytes"]]


def find(files: list[VendorFile], read: bool = True) -> list[Alike]:
    """Return the groups of files that are alike under the same text key; without `read`, by what is noted alone.

    Raises:
        DataError: a file cannot be read.
    """
    if read:
        with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
            list(threads.map(_note_told, (file for file in files if file.kind and "told_bytes" not in file.entry)))
            list(threads.map(_note_beginning, of_unknown_content(files)))
    found = [alike for group in _groups(files) for alike in _split(group)]
    for alike in found if read else ():
        _note_blank(alike.files)
    return [alike for alike in found if alike.files[0].entry.get("beginning") != ""]


def of_unknown_content(files: list[VendorFile]) -> list[VendorFile]:
    """Return the files that may be copies by their sizes, and whose content nobody has looked at yet."""
    groups = [group for group in _groups(files, are_read=True) if not _identity(group)]
    return [file for group in groups for file in group if "beginning" not in file.entry]


def read_whole(files: Iterable[VendorFile], title: str) -> None:
    """Read the text of those files whose BLAKE3 is not noted yet, and note it."""
    unread = [file for file in files if "text_blake3" not in file.entry]
    if not unread:
        return
    with Progress(sum(file.text_bytes for file in unread), "B", title) as progress:
        for file in unread:
            digest = blake3()
            for block in blocks_of(file.path, 0, None, file.text_key, file.listed.etag):
                digest.update(block)
                progress.advance(len(block))
            file.entry["text_blake3"] = digest.hexdigest()


def _grouped(files: Iterable[VendorFile], key: Callable[[VendorFile], Hashable]) -> list[list[VendorFile]]:
    """Return the groups of two or more files that share a key; None is no key."""
    groups: dict[Hashable, list[VendorFile]] = defaultdict(list)
    for file in files:
        groups[key(file)].append(file)
    groups.pop(None, None)
    return [group for group in groups.values() if len(group) > 1]


def _groups(files: Iterable[VendorFile], are_read: bool = False) -> Iterator[list[VendorFile]]:
    """Yield the files that may be alike by their sizes; all of a text key where one is packed, but for tables.

    A table's lines are made of it, and no other file's. Where beginnings are not known, nor will be as `are_read` says,
    packed ones go by what their format tells.
    """
    for group in _grouped(files, lambda file: (file.text_key, file.kind == ".parquet")):
        is_known = are_read or all("beginning" in file.entry for file in group)
        if any(map(_is_packed, group)) and is_known:
            yield group
        else:
            yield from _grouped(group, _size)


def _is_packed(file: VendorFile) -> bool:
    return file.kind in OPENERS


def _size(file: VendorFile) -> int:
    return file.entry.get("told_bytes") or file.entry["size_bytes"]


def _identity(group: list[VendorFile]) -> str | None:
    """Return the key of an entry that tells the content of all files of a group, without reading them."""
    if any(file.kind for file in group):
        return None
    if not any(stores.is_blob(file.path) for file in group):
        return "fingerprint"
    return "content_md5" if all(file.entry.get("content_md5") for file in group) else None


def _split(group: list[VendorFile]) -> list[Alike]:
    """Return the files of a group that are alike."""
    found = []
    identity = _identity(group)
    for same in _grouped(group, lambda file: file.entry.get(identity or "beginning")):
        if any(map(_is_packed, group)) and not any(map(_is_packed, same)):
            found += [alike for plain in _grouped(same, _size) for alike in _split(plain)]
        elif all("text_blake3" in file.entry for file in same):
            found += [Alike(equal, True) for equal in _grouped(same, lambda file: file.entry["text_blake3"])]
        else:
            is_small = same[0].entry["size_bytes"] <= 2 * FINGERPRINT_BYTES
            found.append(Alike(same, identity == "content_md5" or (identity == "fingerprint" and is_small)))
    return found


def _note_told(file: VendorFile) -> None:
    file.entry["told_bytes"] = text_size(file.listed, file.text_key).told


def _note_beginning(file: VendorFile) -> None:
    text, is_whole = beginning_of(file.listed, file.text_key, BEGINNING_BYTES)
    file.entry["beginning"] = blake3(text).hexdigest() if text.strip() or not is_whole else ""
    if is_whole:
        file.entry["text_blake3"] = blake3(text).hexdigest()


def _note_blank(files: list[VendorFile]) -> None:
    """Note of files that are alike whether all of their text is white space: then no document is in two of them."""
    if "beginning" not in files[0].entry:
        text, is_whole = beginning_of(files[0].listed, files[0].text_key, BEGINNING_BYTES)
        if is_whole and not text.strip():
            for file in files:
                file.entry["beginning"] = ""
