"""What a newcomer gets wrong in configuration and vendor files: each is told on one screen, with what to do next.

Those of the machine are in test_newcomer_machine.py, of one value of a configuration in test_configuration.py, of the
mixture in test_mixture_errors.py, of the sizes of a run in test_sizes.py, of a run folder in test_training.py, of a
checkpoint in test_checkpoint_errors.py.
"""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from project import Project, jsonl, run_script
from screens import CORPORA, NEWS, check_screen, row_of_news, write

CONFIG, RUN = "config/config.yaml", "config/runs/tiny/run.yaml"


def change(path: str, old: str, new: str) -> Callable[[Project], None]:
    def changed(project: Project) -> None:
        text = (project.folder / path).read_text()
        assert old in text
        (project.folder / path).write_text(text.replace(old, new))

    return changed


def encode(path: str, encoding: str) -> Callable[[Project], None]:
    return lambda project: (project.folder / path).write_text((project.folder / path).read_text(), encoding)


WRONG = {
    "a configuration that is no YAML": (change(CONFIG, "runs:", "\truns:"), ["no YAML", "line ", CONFIG]),
    "a configuration with a key twice": (
        lambda project: write(CONFIG, (project.folder / CONFIG).read_bytes() + b"\nshard_size_bytes: 7\n")(project),
        ["key 'shard_size_bytes' stands there twice", CONFIG, "keep one of the two"],
    ),
    "an empty configuration": (write(CONFIG, b""), ["no keys in the file", CONFIG]),
    "no configuration": (lambda project: (project.folder / CONFIG).unlink(), ["no such file", CONFIG]),
    "no table": (lambda project: (project.folder / CORPORA).unlink(), ["no such file", CORPORA]),
    "a table with spaces for tabs": (
        change(CORPORA, "\t", "  "),
        ["no column 'language'", f"{CORPORA}:1", "one tab: language, domain"],
    ),
    "a table without a column": (
        change(CORPORA, "\ttext_key", ""),
        ["no column 'text_key'", f"{CORPORA}:1", "one tab"],
    ),
    "a table in UTF-16": (encode(CORPORA, "utf-16"), ["no text in UTF-8", CORPORA, "save it as"]),
    "a source that is a folder": (
        row_of_news(source="vendor/ar_news_daily"),
        ["source 'vendor/ar_news_daily' is a folder", f"{CORPORA}:2", "write 'vendor/ar_news_daily/*'"],
    ),
    "a folder that is missing": (
        lambda project: shutil.rmtree(project.folder / "vendor"),
        ["source 'vendor/en_books_tales/*' matches no file", f"{CORPORA}:2", "fetch the vendor's files"],
    ),
    "a format that is not read": (
        lambda project: project.vendor("ar_news_daily/notes.txt", b"hello\n"),
        ["notes.txt is no vendor file", f"{CORPORA}:3", "narrow the glob", "convert the file"],
    ),
    "what is named .gz and is none": (
        write("vendor/ar_news_daily/b.jsonl.gz", b"hello"),
        ["Not a gzipped file", "where: vendor/ar_news_daily/b.jsonl.gz", "fetch the file again"],
    ),
    "a text key that no document has": (
        row_of_news(text_key="content"),
        ["text_key 'content' is in none of the first 100 documents; the keys of the first: text", f"{CORPORA}:2", NEWS],
    ),
    "the same, compressed": (
        lambda project: (
            row_of_news(text_key="content")(project),
            project.vendor("ar_news_daily/a.jsonl", b""),
            write("vendor/ar_news_daily/b.jsonl.gz", gzip.compress(jsonl(["one", "two"])))(project),
        ),
        ["is in none of the first 2 documents; the keys of the first: text", "b.jsonl.gz"],
    ),
    "a file that lies there compressed, too": (
        lambda project: write("vendor/ar_news_daily/a.jsonl.gz", gzip.compress(jsonl(["one"])))(project),
        [f"{NEWS} lies there compressed, too", f"{CORPORA}:3; {NEWS}.gz", "move the one that is not planned yet out"],
    ),
    "a link to a file that is there": (
        lambda project: (project.folder / "vendor/ar_news_daily/b.jsonl").symlink_to("a.jsonl"),
        ["b.jsonl and vendor/ar_news_daily/a.jsonl are one file", f"{CORPORA}:3", "remove the link"],
    ),
    "a hard link to it": (
        lambda project: os.link(project.folder / NEWS, project.folder / "vendor/ar_news_daily/b.jsonl"),
        ["b.jsonl and vendor/ar_news_daily/a.jsonl are one file", f"{CORPORA}:3", "remove the link"],
    ),
    "a link to the folder itself": (
        lambda project: (
            row_of_news(source="vendor/ar_news_daily/**/*.jsonl")(project),
            (project.folder / "vendor/ar_news_daily/latest").symlink_to("."),
        ),
        ["ar_news_daily/latest leads back to vendor/ar_news_daily, in which it lies", f"{CORPORA}:2"],
    ),
    "a link to nowhere": (
        lambda project: (project.folder / "vendor/ar_news_daily/b.jsonl").symlink_to("/nowhere"),
        ["a link leads nowhere", "where: vendor/ar_news_daily/b.jsonl", "bring back the file"],
    ),
    "a link to itself": (
        lambda project: (project.folder / "vendor/ar_news_daily/b.jsonl").symlink_to("b.jsonl"),
        ["a link leads nowhere", "where: vendor/ar_news_daily/b.jsonl"],
    ),
    "a pipe": (
        lambda project: os.mkfifo(project.folder / "vendor/ar_news_daily/b.jsonl"),
        ["no file, but a pipe", "where: vendor/ar_news_daily/b.jsonl", "narrow the glob"],
    ),
    "a name that is no UTF-8": (
        lambda project: Path(
            os.fsdecode(f"{project.folder}/vendor/ar_news_daily/".encode() + b"caf\xe9.jsonl")
        ).touch(),
        ["the file's name is no UTF-8", "where: vendor/ar_news_daily/caf\\xe9.jsonl", "rename it"],
    ),
    "two rows that have a file in common": (
        lambda project: project.corpora(
            ["ar", "news", "daily", "vendor/ar_news_daily/*", "text"],
            ["ar", "news", "all", "vendor/ar_news_*/*", "text"],
        ),
        [f"{NEWS} is in ar_news_daily and in ar_news_all", f"{CORPORA}:2; {CORPORA}:3", "narrow one of the two globs"],
    ),
    "blank lines alone": (write(NEWS, b"\n\r\n \n"), ["all lines of the corpus are blank", f"{CORPORA}:3"]),
    "one JSON array over many lines": (
        write(NEWS, b'[\n {\n  "text": "one"\n },\n {\n  "text": "two"\n }\n]\n'),
        ["none of the first 8 lines is a document: 8 bad_json", f"where: {NEWS}", "a JSON object a line"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_told_before_the_first_job(project: Project, case: str) -> None:
    make_wrong, parts = WRONG[case]
    make_wrong(project)
    check_screen(run_script("plan_shards.py", "--dry-run", cwd=project.folder), *parts)


def test_empty_texts_first_are_no_wrong_key(project: Project) -> None:
    write(NEWS, jsonl([""] * 8 + ["one"]))(project)
    result = run_script("plan_shards.py", "--dry-run", cwd=project.folder)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "case",
    [
        "a configuration with a key twice",
        "a configuration that is no YAML",
        "a text key that no document has",
        "two rows that have a file in common",
    ],
)
def test_snakemake_tells_the_same(project: Project, case: str) -> None:
    make_wrong, parts = WRONG[case]
    make_wrong(project)
    check_screen(project.snakemake(), *parts)
    assert not (project.folder / "results").exists()


def test_an_empty_run_is_told(project: Project) -> None:
    (project.folder / RUN).write_text("")
    check_screen(project.snakemake("--dry-run"), "no keys in the file", RUN)


def test_a_table_of_a_spreadsheet_is_read(project: Project) -> None:
    encode(CORPORA, "utf-8-sig")(project)
    assert run_script("plan_shards.py", "--dry-run", cwd=project.folder).returncode == 0


def test_one_document_among_the_first_is_enough(project: Project) -> None:
    project.vendor("ar_news_daily/a.jsonl", jsonl(["other"] * 9, key="title") + jsonl(["a text"]))
    assert run_script("plan_shards.py", "--dry-run", cwd=project.folder).returncode == 0
