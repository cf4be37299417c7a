"""Parquet files of vendors: each row is a line, that the tokenizer judges, or the file is refused by name."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from pretrain_llama.errors import DataError, PretrainError
from pretrain_llama.files import read_json
from pretrain_llama.shards.sources import blocks_of, text_size
from pretrain_llama.stores import source_file
from pretrain_llama.tokenization.documents import Rejected, text_of
from project import PREFIX, merge_shard, plan_files, tokenize_shard

LATIN = b"R\xc9UN"
RAW = [b"one", LATIN, None, b"", "ثلاثة".encode(), b'a "quoted" \xed\xa0\x80 half\nof a pair']
FATES = ["one", "bad_unicode", "not_text", "empty", "ثلاثة", "bad_unicode"]


def strings(values: list[bytes | None]) -> pyarrow.Array:
    """A column of strings that are no UTF-8, which Arrow makes of no Python value."""
    raw = pyarrow.array(values, pyarrow.binary())
    return pyarrow.Array.from_buffers(pyarrow.string(), len(raw), raw.buffers())


def write(path: Path, columns: dict[str, Any] | pyarrow.Table, **options: Any) -> Path:
    table = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns)
    parquet.write_table(table, path, **options)
    return path


def lines_of(path: Path, text_key: str = "text") -> list[bytes]:
    return b"".join(blocks_of(str(path), 0, None, text_key)).splitlines()


def fates(path: Path, text_key: str = "text") -> list[str]:
    """What the tokenizer makes of each row: its text, or the reason why there is none."""
    found = []
    for line in lines_of(path, text_key):
        try:
            found.append(text_of(line, text_key).decode())
        except Rejected as rejected:
            found.append(str(rejected))
    return found


COLUMNS = {
    "string": strings(RAW),
    "large_string": strings(RAW).cast(pyarrow.large_string()),
    "string_view": strings(RAW).cast(pyarrow.string_view()),
    "binary": pyarrow.array(RAW, pyarrow.binary()),
    "large_binary": pyarrow.array(RAW, pyarrow.large_binary()),
    "binary_view": pyarrow.array(RAW, pyarrow.binary_view()),
    "categories": pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0, 1, None, 2, 3, 4]), strings([text for text in RAW if text is not None])
    ),
}


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}], ids=str)
@pytest.mark.parametrize("kind", COLUMNS)
def test_every_row_is_a_line_and_judged_as_one_of_jsonl(tmp_path: Path, kind: str, options: dict) -> None:
    path = write(tmp_path / "a.parquet", {"id": list(range(6)), "text": COLUMNS[kind]}, row_group_size=4, **options)
    assert fates(path) == FATES
    assert lines_of(path)[1] == b'{"text":"R\xc9UN"}', "the bytes that were delivered"
    assert text_size(source_file(path), "text").about > 0


def test_a_bad_row_is_rejected_by_its_number_and_kept(tmp_path: Path, tokenizer_model: Path) -> None:
    rows: list[bytes | None] = [f"tale {number}".encode() for number in range(1_000)]
    rows[700] = LATIN
    assert merge_shard(tmp_path, write(tmp_path / "a.parquet", {"text": strings(rows)})).returncode == 0
    result = tokenize_shard(tmp_path, tokenizer_model)
    assert result.returncode == 0, result.stderr
    kept = json.loads((tmp_path / f"{PREFIX}.rejected.jsonl").read_text())
    assert (Path(kept["file"]).name, kept["line"], kept["reason"]) == ("a.parquet", 701, "bad_unicode")
    assert kept["text"].encode(errors="surrogateescape") == b'{"text":"R\xc9UN"}'
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert (receipt["documents"], receipt["rejected"]) == (999, {"bad_unicode": 1})


def test_nested_columns_are_found_whatever_holds_them(tmp_path: Path) -> None:
    data = pyarrow.StructArray.from_arrays(
        [strings(RAW), pyarrow.array(range(6))],
        ["text", "n"],
        mask=pyarrow.array([True, False, False, False, False, False]),
    )
    assert fates(write(tmp_path / "a.parquet", {"data": data}), "data.text") == ["no_text", *FATES[1:]]
    outer = pyarrow.StructArray.from_arrays([data], ["page"], mask=pyarrow.array([False, True, *[False] * 4]))
    deep = write(tmp_path / "b.parquet", {"text": ["x"] * 6, "data": outer})
    assert fates(deep, "data.page.text") == ["no_text", "no_text", *FATES[2:]]
    assert lines_of(deep, "data.page.text")[4] == '{"data":{"page":{"text":"ثلاثة"}}}'.encode()
    dotted = write(tmp_path / "c.parquet", {"data.lang": ["de"] * 6, "data.text": strings(RAW), "data": [1] * 6})
    assert fates(dotted, "data.text") == FATES
    beside = write(tmp_path / "d.parquet", {"text.lang": ["de"] * 6, "text": strings(RAW)})
    assert fates(beside) == FATES


@pytest.mark.parametrize("rows", [0, 1, 200])
def test_a_column_without_a_type_has_no_texts(tmp_path: Path, rows: int) -> None:
    path = write(tmp_path / "a.parquet", {"text": pyarrow.nulls(rows), "n": list(range(rows))})
    assert fates(path) == ["no_text"] * rows
    nested = pyarrow.array([{"text": None, "n": 1}] * rows, pyarrow.struct([("text", pyarrow.null()), ("n", "int8")]))
    assert fates(write(tmp_path / "b.parquet", {"data": nested}), "data.text") == ["no_text"] * rows


def test_row_groups_without_rows_are_passed_over(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["one", "two"]})
    with parquet.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for rows in (0, 1, 0, 2, 0):
            writer.write_table(table.slice(0, rows), row_group_size=max(rows, 1))
            if not rows:
                writer.write_batch(pyarrow.record_batch({"text": pyarrow.array([], pyarrow.string())}))
    assert fates(tmp_path / "a.parquet") == ["one", "one", "two"]
    assert parquet.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups > 2


REFUSED = {
    "two of one name": (
        pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"]),
        "two columns 'text'",
        "one of them has to have another name",
    ),
    "a list": (pyarrow.table({"text": [["a"]], "title": ["b"]}), "no column 'text' of strings; .*strings: title", ""),
    "numbers": (pyarrow.table({"text": [1.5]}), "no column 'text' of strings; columns of strings: none", "text_key"),
    "bytes of one size": (
        pyarrow.table({"text": pyarrow.array([b"a"], pyarrow.binary(1))}),
        "no column 'text' of strings",
        "correct text_key",
    ),
    "another name": (pyarrow.table({"Text": ["a"]}), "no column 'text' of strings; .*strings: Text", "text_key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_column_that_holds_no_string_a_row_is_refused_by_name(tmp_path: Path, case: str) -> None:
    table, problem, action = REFUSED[case]
    path = write(tmp_path / "a.parquet", table)
    with pytest.raises(DataError, match=problem) as raised:
        plan_files(tmp_path, path)
    assert f"where: {path}" in str(raised.value) and action in str(raised.value)


def test_a_list_in_a_struct_and_a_struct_beside_its_dotted_name_are_refused(tmp_path: Path) -> None:
    pages = write(tmp_path / "a.parquet", {"data": pyarrow.array([{"pages": ["a"]}])})
    with pytest.raises(DataError, match=r"no column 'data\.pages\.list\.element' of strings; .*: none"):
        plan_files(tmp_path, pages, text_key="data.pages.list.element")
    both = write(tmp_path / "b.parquet", {"data": pyarrow.array([{"text": "a"}]), "data.text": ["b"]})
    with pytest.raises(DataError, match=r"two columns 'data\.text'"):
        plan_files(tmp_path, both, text_key="data.text")


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"compression": "none", "write_page_checksum": True}])
def test_a_damaged_page_is_named_with_the_rows_before_it(tmp_path: Path, options: dict) -> None:
    texts = [random.Random(number).randbytes(40).hex() for number in range(4_000)]
    path = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=1_000, use_dictionary=False, **options)
    damaged = bytearray(path.read_bytes())
    begin = parquet.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset + 100
    damaged[begin : begin + 1_000] = bytes(1_000)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"cannot be read after row (1,\d\d\d|2,000) of 4,000: ") as raised:
        lines_of(path)
    assert str(path) in str(raised.value) and "fetch the file again" in str(raised.value)


def test_a_letter_that_was_changed_is_named_where_the_writer_made_checksums(tmp_path: Path) -> None:
    options = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}
    path = write(tmp_path / "a.parquet", {"text": ["a tale", "of ships"]}, write_statistics=False, **options)
    path.write_bytes(path.read_bytes().replace(b"ships", b"sheep"))
    with pytest.raises(DataError, match=r"cannot be read after row 0 of 2: .*CRC"):
        lines_of(path)


def test_fewer_rows_than_the_footer_says_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["a tale"] * 300})
    whole = parquet.ParquetFile.iter_batches

    def short(*args: Any, **options: Any) -> Any:
        return list(whole(*args, **options))[:-1]

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", short)
    with pytest.raises(DataError, match="has 256 rows, and its footer says 300"):
        lines_of(path)


def test_a_damaged_file_is_read_whole_or_named_whatever_the_damage(tmp_path: Path) -> None:
    """Where it is read, no row is missing; a page without a checksum may hold other letters."""
    chance = random.Random(0)
    buffer = io.BytesIO()
    table = pyarrow.table({"text": [f"tale {number} of the sea" for number in range(500)], "n": list(range(500))})
    parquet.write_table(table, buffer, row_group_size=200, data_page_size=1_000)
    path, named = tmp_path / "a.parquet", 0
    for _ in range(300):
        damaged = bytearray(buffer.getvalue())
        for _ in range(chance.choice([1, 20])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            text_size(source_file(path), "text")
            assert len(lines_of(path)) == 500
        except PretrainError as error:
            assert str(path) in str(error)
            named += 1
    assert 100 < named < 300
