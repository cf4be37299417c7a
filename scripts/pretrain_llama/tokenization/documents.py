"""Parse jsonl lines: the text of each document, or the reason why the line is rejected."""

import json
import re

import numpy as np
import orjson
import pyarrow
from pyarrow import json as arrow_json

from pretrain_llama.tokenization.texts import Texts

UTF8_BOM = b"\xef\xbb\xbf"
NEWLINE, RETURN, OPEN, CLOSE, BACKSLASH = b"\n\r{}\\"
# First bytes of the characters that str.isspace() is true for.
SPACE_BYTES = np.array([byte <= 0x20 or byte in b"\xc2\xe1\xe2\xe3" for byte in range(256)])


class Rejected(Exception):
    """A line that is no document; `str()` gives the reason code.

    bad_unicode  not UTF-8, or a lone surrogate, which UTF-8 cannot hold
    bad_json     not JSON
    no_text      not an object, or the text key is missing
    not_text     what stands under the text key is no string
    empty        the text is empty or only whitespace, or the tokenizer gives it no token (lines.py)
    too_long     the line is longer than allowed (lines.py)
    """


def text_of(line: bytes, text_key: str) -> bytes:
    """Return a document's text, in UTF-8.

    Args:
        line: one jsonl line; a byte-order mark at its beginning is left out.
        text_key: key of the text; nested keys are joined by dots. A key that itself holds dots wins.

    Raises:
        Rejected: the line is no document.
    """
    line = line.removeprefix(UTF8_BOM)
    try:
        text = _look_up(_parse(line), text_key)
    except (RecursionError, json.JSONDecodeError):  # what reads whole blocks may read it: deep nesting, Inf or -NaN
        alone = texts_of(line + b"\n", text_key, len(line) + 2)
        if alone is None:
            raise Rejected("bad_json") from None
        return alone[0]
    if not isinstance(text, str):
        raise Rejected("not_text")
    if not text or text.isspace():
        raise Rejected("empty")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Rejected("bad_unicode") from None


def texts_of(block: bytes | memoryview, text_key: str, max_line_bytes: int) -> Texts | None:
    """Return the texts of many lines at once, if every one of them is a document; None if any might not be.

    It gives what `text_of` gives for each line, and leaves all that needs judgement to it: where a line is blank, too
    long, not in the form `{…}`, no UTF-8, no JSON, or has no text, and where the parser finds another number of
    documents than there are lines. An object cannot go over the end of a line, because "}" and "{" would meet in it.

    Args:
        block: whole lines, each with its newline.
        text_key: see `text_of`.
        max_line_bytes: of the longest line allowed, newline included.
    """
    data = np.frombuffer(block, np.uint8)
    newlines = np.flatnonzero(data == NEWLINE)
    starts = np.concatenate([[0], newlines[:-1] + 1])
    if (newlines - starts).max() >= max_line_bytes or (data[starts] != OPEN).any():
        return None
    ends = newlines - 1 - (data[newlines - 1] == RETURN)
    if (data[ends] != CLOSE).any() or _names_a_dotted_key(block, text_key) or not _is_utf8(block):
        return None
    try:
        table = arrow_json.read_json(
            pyarrow.BufferReader(block),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block)),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pyarrow.schema([_field(text_key)]), unexpected_field_behavior="ignore"
            ),
        )
        for _ in text_key.split(".")[1:]:
            table = pyarrow.Table.from_struct_array(table.column(0).combine_chunks())
        column = table.column(0).combine_chunks()
        if (data == BACKSLASH).any():
            column.validate(full=True)  # an escape can name a lone surrogate, which UTF-8 cannot hold
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return None
    if len(column) != len(newlines) or column.null_count:
        return None
    texts = Texts(
        np.frombuffer(column.buffers()[2], np.uint8),
        np.frombuffer(column.buffers()[1], np.int32)[: len(column) + 1].astype(np.int64),
    )
    return None if _any_empty(texts) else texts


def _parse(line: bytes) -> object:
    """Parse JSON fast; what the fast parser refuses, such as NaN or a lone surrogate, the standard one judges.

    Raises:
        Rejected: it is not UTF-8.
        JSONDecodeError: it is not JSON.
        RecursionError: it is nested too deep.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line.decode("utf-8"), parse_int=float)  # an integer may have any number of digits
    except UnicodeDecodeError:
        raise Rejected("bad_unicode") from None


def _look_up(document: object, text_key: str) -> object:
    if isinstance(document, dict) and text_key in document:
        return document[text_key]
    first, dot, rest = text_key.partition(".")
    if not dot or not isinstance(document, dict) or first not in document:
        raise Rejected("no_text")
    return _look_up(document[first], rest)


def _field(text_key: str) -> pyarrow.Field:
    first, _, rest = text_key.partition(".")
    return pyarrow.field(first, pyarrow.struct([_field(rest)]) if rest else pyarrow.string())


def _names_a_dotted_key(block: bytes | memoryview, text_key: str) -> bool:
    """Say whether a key that holds dots may stand there, which wins over nested ones; escapes may spell it."""
    parts = text_key.split(".")
    dotted = [json.dumps(".".join(parts[first:]), ensure_ascii=False) for first in range(len(parts) - 1)]
    spellings = [re.escape(key).replace("/", r"\\?/").encode() for key in dotted]
    return bool(dotted) and any(re.search(pattern, block) for pattern in [rb"\\u", *spellings])


def _is_utf8(block: bytes | memoryview) -> bool:
    ends = pyarrow.py_buffer(np.array([0, len(block)], np.int32))
    try:
        pyarrow.StringArray.from_buffers(1, ends, pyarrow.py_buffer(block)).validate(full=True)
    except pyarrow.ArrowInvalid:
        return False
    return True


def _any_empty(texts: Texts) -> bool:
    lengths = np.diff(texts.offsets)
    if not lengths.all():
        return True
    suspects = np.flatnonzero(SPACE_BYTES[texts.data[texts.offsets[:-1]]])
    return any(texts[number].decode().isspace() for number in suspects.tolist())
