"""Vendor files of the same text: found whatever they are called and packed in, refused, allowed, or named."""

import gzip
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from backports import zstd
from pyarrow import parquet

from pretrain_llama.configuration import Corpus, load_corpora
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.shards import alike, copies, plan
from pretrain_llama.shards.copies import Copies
from pretrain_llama.shards.sources import TextSize
from pretrain_llama.stores import SourceFile, list_files
from project import COLUMNS, Project, deliver, jsonl

SMALL = jsonl(["A tale of ships.", "And of the sea."])
LARGE = jsonl([f"A tale of {number} ships, and of the sea. {number**7}" for number in range(8_000)])
OTHER_MIDDLE = LARGE.replace(b"A tale of 4000 ", b"A TALE OF 4000 ")


def corpus(folder: Path, domain: str = "books", text_key: str = "text", duplicates: str = "") -> Corpus:
    return Corpus("en", domain, "tales", f"{folder}/{domain}/*", text_key, f"corpora.tsv: {domain}", duplicates)


def look(folder: Path, *corpora: Corpus, default: str = "refuse") -> tuple[Copies, dict[str, plan.Plan]]:
    """Plan all corpora as a preview does, going on from what is recorded."""
    recorded = {one.name: plan.load(folder / f"{one.name}.json", one) for one in corpora}
    plans = {one.name: plan.plan_corpus(one, recorded[one.name], 1 << 40) for one in corpora}
    return copies.look(plans, recorded, corpora, default), plans


def record(folder: Path, plans: dict[str, plan.Plan]) -> None:
    for name, planned in plans.items():
        plan.record(folder / f"{name}.json", planned)


def named_gzip(content: bytes, name: str, level: int = 9) -> bytes:
    """As `gzip FILE` makes it, with the file's name and time in its header."""
    packed = io.BytesIO()
    with gzip.GzipFile(name, "wb", level, packed, mtime=len(name)) as file:
        file.write(content)
    return packed.getvalue()


def streamed_zst(content: bytes) -> bytes:
    """As `… | zstd` makes it: nothing tells its size."""
    compressor = zstd.ZstdCompressor()
    return compressor.compress(content) + compressor.flush()


def rows(content: bytes, **options: object) -> bytes:
    packed = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(map(json.loads, content.splitlines()))), packed, **options)
    return packed.getvalue()


Pack = Callable[[bytes], bytes]
SAME: dict[str, tuple[str, Pack, str, Pack]] = {
    "a copy": ("a.jsonl", bytes, "Kopie von a.jsonl", bytes),
    "another ending": ("a.jsonl", bytes, "a.json", bytes),
    "gzip of two names": ("a.jsonl.gz", lambda c: named_gzip(c, "a"), "b.jsonl.gz", lambda c: named_gzip(c, "bb", 1)),
    "plain and gzip": ("a.jsonl", bytes, "b.jsonl.gz", gzip.compress),
    "plain and zstandard": ("a.jsonl", bytes, "b.jsonl.zst", zstd.compress),
    "gzip and zstandard": ("a.jsonl.gz", gzip.compress, "b.jsonl.zst", zstd.compress),
    "zstandard without a size": ("a.jsonl.zst", streamed_zst, "b.jsonl.zst", streamed_zst),
    "plain and streamed zstandard": ("a.jsonl", bytes, "b.jsonl.zst", streamed_zst),
    "plain and frames": ("a.jsonl", bytes, "b.jsonl.zst", lambda c: zstd.compress(c[:30]) + zstd.compress(c[30:])),
    "gzip and members": ("a.jsonl.gz", gzip.compress, "b.jsonl.gz", lambda c: gz_of_two(c)),
    "members and zstandard": ("a.jsonl.gz", lambda c: gz_of_two(c) + gzip.compress(b""), "b.jsonl.zst", zstd.compress),
    "parquet": ("a.parquet", rows, "b.parquet", rows),
    "parquet packed otherwise": ("a.parquet", rows, "b.parquet", lambda c: rows(c, compression="zstd")),
}


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("domains", [("books", "books"), ("books", "web")], ids=["one corpus", "two corpora"])
def test_the_same_text_twice_is_refused_with_both_names(
    tmp_path: Path, domains: tuple[str, str], case: str, content: bytes
) -> None:
    first, pack, second, pack_again = SAME[case]
    for domain, name, packed in zip(domains, (first, second), (pack, pack_again), strict=True):
        path = tmp_path / domain / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(packed(content))
    corpora = [corpus(tmp_path, domain) for domain in dict.fromkeys(domains)]
    with pytest.raises(DataError) as raised:
        look(tmp_path, *corpora)
    pair = {f"{tmp_path}/{domains[0]}/{first}", f"{tmp_path}/{domains[1]}/{second}"}
    problem, where, action = str(raised.value).split("\n  ")
    assert (
        set(problem.removesuffix(": its documents would be trained on twice").split(" holds the same text as ")) == pair
    )
    assert all(one.where in where for one in corpora)
    assert "or narrow the glob; if it is meant" in action and "duplicates: allow" in action
    assert not list(tmp_path.glob("*.json")), "nothing is written"


def gz_of_two(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half]) + gzip.compress(content[half:])


DIFFERENT: dict[str, dict[str, bytes]] = {
    "of the same size": {"a.jsonl": SMALL, "b.jsonl": SMALL.replace(b"sea", b"SEA")},
    "but for the middle": {"a.jsonl": LARGE, "b.jsonl": OTHER_MIDDLE},
    "but for the middle, packed": {"a.jsonl": LARGE, "b.jsonl.gz": gzip.compress(OTHER_MIDDLE)},
    "of no bytes": {"a.jsonl": b"", "b.jsonl": b"", "c.jsonl": SMALL},
    "of blank lines": {"a.jsonl": b"\n \r\n", "b.jsonl": b"\n \r\n", "c.jsonl": SMALL},
    "of blank lines, packed": {"a.jsonl": b"\n\n", "b.jsonl.gz": gzip.compress(b"\n\n"), "c.jsonl": SMALL},
    "of nothing, packed": {"a.jsonl.gz": gzip.compress(b""), "b.jsonl.gz": gzip.compress(b""), "c.jsonl": SMALL},
    "with the same last member": {
        "a.jsonl.gz": gzip.compress(LARGE) + gzip.compress(SMALL),
        "b.jsonl.gz": gzip.compress(SMALL) + gzip.compress(SMALL),
    },
    "tables": {"a.parquet": rows(LARGE, compression="none"), "b.parquet": rows(OTHER_MIDDLE, compression="none")},
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_holds_no_document_twice_is_planned_and_read_once_at_most(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in DIFFERENT[case].items():
        (tmp_path / "books").mkdir(exist_ok=True)
        (tmp_path / "books" / name).write_bytes(content)
    found, plans = look(tmp_path, corpus(tmp_path))
    found.settle()
    record(tmp_path, plans)
    assert not found.notes and len(next(iter(plans.values()))["files"]) == len(DIFFERENT[case])
    for reader in ("beginning_of", "blocks_of", "text_size"):
        monkeypatch.delattr(alike, reader)
    again, planned = look(tmp_path, corpus(tmp_path))
    assert planned == plans and not again.notes


def test_other_texts_of_the_same_lines_are_two_corpora(tmp_path: Path) -> None:
    content = b'{"text": "A tale.", "title": "Its title."}\n'
    for domain in ("books", "web"):
        deliver(tmp_path / domain / f"{domain}.jsonl", content)
        deliver(tmp_path / domain / f"{domain}.parquet", content)
    corpora = [corpus(tmp_path), corpus(tmp_path, "web", "title")]
    assert not look(tmp_path, *corpora)[0].notes
    with pytest.raises(DataError, match=r"web/web\.parquet holds .*|web/web\.jsonl holds .*"):
        look(tmp_path, corpus(tmp_path), corpus(tmp_path, "web"))


@pytest.mark.parametrize(
    ("of_books", "of_web", "default", "is_allowed"),
    [
        ("", "", "allow", True),
        ("allow", "", "refuse", True),
        ("", "allow", "refuse", True),
        ("refuse", "", "allow", True),
        ("refuse", "refuse", "allow", False),
        ("", "", "refuse", False),
    ],
)
def test_copies_are_allowed_by_either_corpus_or_the_configuration(
    tmp_path: Path, of_books: str, of_web: str, default: str, is_allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(tmp_path / "books" / "a.jsonl", LARGE)
    deliver(tmp_path / "web" / "b.jsonl", LARGE)
    corpora = [corpus(tmp_path, "books", duplicates=of_books), corpus(tmp_path, "web", duplicates=of_web)]
    if not is_allowed:
        with pytest.raises(DataError, match="holds the same text as"):
            look(tmp_path, *corpora, default=default)
        return
    monkeypatch.delattr(alike, "blocks_of")
    found, plans = look(tmp_path, *corpora, default=default)
    found.settle()
    assert not found.notes
    same = alike.find([file for planned in plans.values() for file in alike.files_of(planned)], read=False)
    assert [[Path(file.path).name for file in one.files] for one in same] == [["a.jsonl", "b.jsonl"]]


def test_the_table_may_have_a_column_of_them(tmp_path: Path) -> None:
    table = tmp_path / "corpora.tsv"
    lines = ["\t".join([*COLUMNS, "duplicates"])]
    lines += [f"en\t{domain}\tx\t*.jsonl\ttext\t{value}" for domain, value in (("a", "allow"), ("b", ""))]
    table.write_text("\n".join(lines))
    assert [corpus.duplicates for corpus in load_corpora(table)] == ["allow", ""]
    table.write_text("\n".join(lines).replace("allow", "yes"))
    with pytest.raises(ConfigError, match=r"'yes' is not one of \['refuse', 'allow'\]\n  where: .*:2: duplicates"):
        load_corpora(table)


def test_what_was_planned_before_is_named_and_no_more_of_it_taken(tmp_path: Path) -> None:
    """Plans of version 0.3 hold size, time and fingerprint alone."""
    for name in ("a.jsonl", "b.jsonl"):
        deliver(tmp_path / "books" / name, LARGE)
    for name in ("c.jsonl.gz", "d.jsonl.gz"):
        deliver(tmp_path / "books" / name, SMALL)
    one = corpus(tmp_path)
    old = plan.extend(plan.empty(one), list_files(one.source, one.where), one, 1 << 40)
    for entry in old["files"].values():
        entry.pop("told_bytes", None)
    record(tmp_path, {one.name: old})
    found, plans = look(tmp_path, one)
    assert len(found.notes) == 1
    for pair in (("b.jsonl", "a.jsonl"), ("d.jsonl.gz", "c.jsonl.gz")):
        assert " and ".join(f"{tmp_path}/books/{name}" for name in pair) in found.notes[0]
    assert "their shards stay as they are; if it is meant" in found.notes[0]
    assert plans[one.name]["shards"] == old["shards"]
    record(tmp_path, plans)
    assert not look(tmp_path, one, default="allow")[0].notes
    for name, content in {"e.jsonl.gz": SMALL, "f.jsonl": LARGE}.items():
        copy = deliver(tmp_path / "books" / name, content)
        with pytest.raises(DataError, match=rf"books/{name} holds the same text as {tmp_path}/books/[ac]\.jsonl"):
            look(tmp_path, one)
        copy.unlink()


def test_a_copy_of_a_planned_file_is_the_one_that_is_new(tmp_path: Path) -> None:
    """Whatever the order of their names is: the planned one cannot be moved."""
    deliver(tmp_path / "books" / "z.jsonl", LARGE)
    record(tmp_path, look(tmp_path, corpus(tmp_path))[1])
    for name in ("a.jsonl", "b.jsonl"):
        shutil.copy(tmp_path / "books" / "z.jsonl", tmp_path / "books" / name)
    with pytest.raises(DataError) as raised:
        look(tmp_path, corpus(tmp_path))
    for name in ("a.jsonl", "b.jsonl"):
        assert f"{tmp_path}/books/{name} holds the same text as {tmp_path}/books/z.jsonl" in str(raised.value)


def test_a_touched_file_is_looked_at_anew(tmp_path: Path) -> None:
    path = deliver(tmp_path / "books" / "a.jsonl", LARGE)
    deliver(tmp_path / "books" / "b.jsonl.gz", OTHER_MIDDLE)
    planned = look(tmp_path, corpus(tmp_path))[1]
    record(tmp_path, planned)
    assert "text_blake3" in planned["en_books_tales"]["files"][str(path)]
    path.write_bytes(OTHER_MIDDLE)
    os.utime(path, ns=(1, 1))
    found = look(tmp_path, corpus(tmp_path))[0]
    assert "b.jsonl.gz" in found.notes[0], "its ends are what was planned, and its text has become the other's"


def test_a_preview_leaves_to_the_run_what_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        deliver(tmp_path / "books" / name, LARGE)
        deliver(tmp_path / "web" / name, OTHER_MIDDLE * 2)
    monkeypatch.setattr(copies, "READ_IN_PREVIEWS", 3 * len(LARGE))
    with pytest.raises(DataError, match=r"books/b\.jsonl holds the same text as"):
        look(tmp_path, corpus(tmp_path), corpus(tmp_path, "web"))
    found = look(tmp_path, corpus(tmp_path, duplicates="allow"), corpus(tmp_path, "web"))[0]
    assert len(found.notes) == 1
    assert f"these look like copies, by their size and beginning: {tmp_path}/web/a.jsonl" in found.notes[0]
    assert f"{4 * len(LARGE):,} bytes" in found.notes[0]
    with pytest.raises(DataError, match=r"web/b\.jsonl holds the same text as"):
        found.settle()


def test_a_run_reads_before_its_first_job_what_its_preview_did_not(project: Project) -> None:
    """Two sparse files of 600 MiB: more than a preview reads."""
    project.config["shard_size_bytes"] = 1 << 40
    project.save()
    for name in ("b.jsonl", "c.jsonl"):
        os.truncate(project.vendor(f"en_books_tales/{name}", SMALL), 600 << 20)
    preview = project.snakemake("--dry-run")
    assert preview.returncode == 0, preview.stdout
    assert "note: these look like copies" in preview.stderr and "1,258,291,200 bytes" in preview.stderr
    run = project.snakemake("data")
    assert run.returncode != 0
    assert (
        "vendor/en_books_tales/c.jsonl holds the same text as vendor/en_books_tales/b.jsonl" in run.stdout + run.stderr
    )
    assert "compare 2 files that look like copies: 100 %" in run.stderr
    assert not (project.folder / "results" / "plan").exists() and not (project.folder / "results" / "shards").exists()


def test_a_listing_tells_copies_by_their_md5_and_says_what_it_does_not_tell(tmp_path: Path) -> None:
    def listed(*md5s: str, packed: int = 0) -> Copies:
        blobs = [SourceFile(f"az://v/{n}.jsonl", 9_000, 0, f"etag{n}", md5) for n, md5 in enumerate(md5s)]
        blobs += [SourceFile(f"az://v/{n}.jsonl.gz", 900, 0, f"etag{n}") for n in range(100, 100 + packed)]
        one = corpus(tmp_path)
        plans = {one.name: plan.extend(plan.empty(one), blobs, one, 1 << 40, lambda file, _: TextSize(9_000))}
        return copies.look(plans, {one.name: plan.empty(one)}, [one], "refuse", read=False)

    with pytest.raises(DataError, match=r"az://v/2\.jsonl holds the same text as az://v/0\.jsonl"):
        listed("0a", "0b", "0a")
    with pytest.raises(DataError, match=r"az://v/2\.jsonl holds the same text as az://v/0\.jsonl"):
        listed("0a", "0b", "0a", packed=1)
    assert not listed("0a", "0b").notes
    assert listed("0a", "").notes[0].startswith("2 files are as large as others, or may be, compressed: whether")
    assert listed("0a", packed=1).notes[0].startswith("2 files are as large as others, or may be, compressed")
