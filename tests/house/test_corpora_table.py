"""The table of corpora: what a spreadsheet or an editor may make of it is read as it is meant, or refused by line."""

from pathlib import Path

import pytest

from pretrain_llama.configuration import COLUMNS, Corpus, load_corpora
from pretrain_llama.errors import ConfigError

EN = ["en", "books", "tales", "vendor/*.jsonl", "text"]
AR = ["ar", "news", "daily", "news/*.jsonl", "text"]


def load(folder: Path, *rows: list[str], columns: tuple[str, ...] = COLUMNS, newline: str = "\n") -> list[Corpus]:
    """Read a table whose rows are written as they are, without quotes."""
    path = folder / "corpora.tsv"
    path.write_bytes("".join("\t".join(row) + newline for row in (columns, *rows)).encode())
    return load_corpora(path)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_a_spreadsheet_ends_them_and_nowhere_else(tmp_path: Path, newline: str) -> None:
    odd = [*EN[:3], 'vendor/\u2028"\x85*.jsonl', "text"]
    found = load(tmp_path, odd, [""], AR, newline=newline)
    assert [(corpus.source, corpus.where[-2:]) for corpus in found] == [(odd[3], ":2"), (AR[3], ":4")]


@pytest.mark.parametrize("value", ['"', '"a', 'a"b', '"a ""b"" *.jsonl"'])
@pytest.mark.parametrize("column", [3, 4])
def test_quotes_are_characters_like_others(tmp_path: Path, column: int, value: str) -> None:
    found = load(tmp_path, [*EN[:column], value, *EN[column + 1 :]], AR)
    assert ([found[0].source, found[0].text_key][column - 3], len(found)) == (value, 2)


@pytest.mark.parametrize("value", ["a\0b", "a\x0cb", "x" * 200_000])
def test_a_value_that_is_no_text_of_a_table_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)corpora\.tsv:3\b.*at most 8,192 characters") as error:
        load(tmp_path, AR, [*EN[:3], value, "text"])
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("column", ["source", "duplicates"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, column: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)column '{column}' stands there twice.*corpora\.tsv:1\b"):
        load(tmp_path, [*EN, "", ""], columns=(*COLUMNS, "duplicates", column))


@pytest.mark.parametrize("column", range(3))
def test_names_that_differ_in_capitals_alone_are_refused(tmp_path: Path, column: int) -> None:
    other = [*EN[:column], EN[column].upper(), *EN[column + 1 :]]
    with pytest.raises(ConfigError, match=r"(?s)differ in capitals alone.*corpora\.tsv:2 and .*corpora\.tsv:3"):
        load(tmp_path, EN, other)


@pytest.mark.parametrize(
    ("language", "message"), [("-en", "'-en' does not match"), ("e" * 120, "has 132 characters.*to 128 in all")]
)
def test_a_language_names_files_and_is_a_word_of_a_command_line(tmp_path: Path, language: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load(tmp_path, [language, *EN[1:]])
