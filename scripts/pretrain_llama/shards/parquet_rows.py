"""Read Parquet files as jsonl: one line for each row, with the text column alone.

    a text, of whatever encoding                {"text": "a tale"}          a document
    a text that is no UTF-8                     {"text": "R\\xc9UN"}, raw    bad_unicode, and the bytes are kept
    a null                                      {"text": null}              not_text
    any row, where the column has no type, as one of nulls alone may have;
    a row without the struct that holds the text                        {}  no_text

So the n-th line of a file is its n-th row, and the tokenizer judges every one of them as it does those of jsonl.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from pretrain_llama import stores
from pretrain_llama.errors import DataError

BATCH_ROWS = 64
BUFFER_BYTES = 1 << 16
NO_TEXT = b"{}\n"


def text_bytes(path: str, text_key: str, etag: str = "") -> int:
    """Return about how many bytes of jsonl a file becomes: its column, uncompressed, and each line's frame.

    Args:
        path: the file or blob.
        text_key: the column; nested ones are joined by dots.
        etag: of a blob, as it was planned.

    Raises:
        DataError: there is no such column, or two of them.
    """
    with _opened(path, text_key, etag) as file:
        metadata = file.metadata
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        columns = [group.column(index) for group in groups for index in range(group.num_columns)]
        text = sum(column.total_uncompressed_size for column in columns if column.path_in_schema == text_key)
        return text + metadata.num_rows * sum(map(len, (*_frame(text_key), _quoted(b""))))


def columns_of_text(path: str) -> list[str]:
    """Return the columns of a file that may hold texts; DataError: it is no Parquet file."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            return [column.path for column in _columns(file) if _may_hold_texts(column)]
    except pyarrow.ArrowException as error:
        raise _damaged(path, f"a vendor file cannot be read: {error}") from error


def blocks(path: str, text_key: str, etag: str = "") -> Iterator[bytes]:
    """Yield a file's rows as lines, some at once; for the arguments and errors see `text_bytes`.

    Raises:
        DataError: also if a row cannot be read, or there are more or fewer than the file's footer says.
    """
    import pyarrow

    with _opened(path, text_key, etag) as file:
        rows, read = file.metadata.num_rows, 0
        try:
            for batch in file.iter_batches(BATCH_ROWS, columns=[text_key]):
                yield b"".join(_lines(batch, text_key))
                read += batch.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(path, f"a vendor file cannot be read after row {read:,} of {rows:,}: {error}") from error
        if read != rows:
            raise _damaged(path, f"a vendor file has {read:,} rows, and its footer says {rows:,}")


def _damaged(path: str, problem: str) -> DataError:
    return DataError(problem, where=path, action="fetch the file again, and check its size")


@contextmanager
def _opened(path: str, text_key: str, etag: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    with stores.open_binary(path, etag) as stream:
        try:
            file = parquet.ParquetFile(
                stream,
                binary_type=pyarrow.large_binary(),  # categories, too, which Arrow would take for UTF-8
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
        except pyarrow.ArrowException as error:
            raise _damaged(path, f"a vendor file cannot be read: {error}") from error
        _check_column(file, path, text_key)
        yield file


def _check_column(file: Any, path: str, text_key: str) -> None:
    columns = _columns(file)
    texts = [column.path for column in columns if _may_hold_texts(column)]
    if [column.path for column in columns].count(text_key) > 1:
        raise DataError(
            f"the parquet file has two columns {text_key!r}",
            where=path,
            action="have the vendor's file mended: one of them has to have another name",
        )
    if text_key not in texts:
        raise DataError(
            f"the parquet file has no column {text_key!r} of strings; columns of strings: {', '.join(texts) or 'none'}",
            where=path,
            action="correct text_key in config/corpora.tsv, or have the vendor's file mended",
        )


def _columns(file: Any) -> list[Any]:
    return [file.schema.column(index) for index in range(len(file.schema))]


def _may_hold_texts(column: Any) -> bool:
    """Say whether a column holds a string a row: one so called, plain bytes, or nulls without a type; never a list."""
    kind = column.logical_type.type
    is_text = kind in ("STRING", "UNKNOWN") or (kind == "NONE" and column.physical_type == "BYTE_ARRAY")
    return is_text and column.max_repetition_level == 0


def _lines(batch: Any, text_key: str) -> Iterator[bytes]:
    """Yield the lines of some rows."""
    import pyarrow

    column, structs = _leaf(zip(batch.schema.names, batch.columns, strict=True), text_key)
    if pyarrow.types.is_null(column.type):
        yield NO_TEXT * len(column)
        return
    before, after = _frame(text_key)
    texts = column.cast(pyarrow.large_binary()).to_pylist()
    for text, is_there in zip(texts, _all_valid(structs, len(column)), strict=True):
        yield before + _quoted(text) + after if is_there else NO_TEXT


def _leaf(columns: Iterable[tuple[str, Any]], text_key: str) -> tuple[Any, list[Any]]:
    """Return a column, of any depth, and the structs that hold it."""
    import pyarrow

    for name, column in columns:
        if name == text_key:
            return column, []
        if text_key.startswith(f"{name}.") and pyarrow.types.is_struct(column.type):
            fields = [(column.type.field(index).name, column.field(index)) for index in range(column.type.num_fields)]
            leaf, structs = _leaf(fields, text_key.removeprefix(f"{name}."))
            return leaf, [column, *structs]
    raise AssertionError(text_key)  # _check_column has seen it


def _all_valid(structs: list[Any], rows: int) -> list[bool]:
    """Return of each row whether none of the structs is null."""
    valid = (struct.is_valid().to_pylist() for struct in structs)
    return [all(row) for row in zip(*valid, strict=True)] if structs else [True] * rows


def _frame(text_key: str) -> tuple[bytes, bytes]:
    """Return what stands before and after a text in its line, where `documents.text_of` looks for it."""
    keys = text_key.split(".")
    return b"".join(b"{" + orjson.dumps(key) + b":" for key in keys), b"}" * len(keys) + b"\n"


def _quoted(text: bytes | None) -> bytes:
    """Return a text as JSON, a null as null; bytes that are no UTF-8 stay as they are."""
    if text is None:
        return b"null"
    try:
        return orjson.dumps(text.decode())
    except UnicodeDecodeError:
        return json.dumps(text.decode(errors="surrogateescape"), ensure_ascii=False).encode(errors="surrogateescape")
