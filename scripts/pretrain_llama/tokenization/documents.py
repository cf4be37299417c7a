"""Documents from jsonl lines: the text, or the reason why there is none."""

import json

import orjson

UTF8_BOM = b"\xef\xbb\xbf"


class Rejected(Exception):
    """A line that is no document; `str()` gives the reason code.

    bad_unicode  not UTF-8, or a lone surrogate, which UTF-8 cannot hold
    bad_json     not JSON
    no_text      not an object, or the text key is missing
    not_text     what stands under the text key is no string
    empty        the text is empty or only whitespace
    too_long     the line is longer than allowed (tokenize.py)
    """


def text_of(line: bytes, text_key: str) -> bytes:
    """Return a document's text, in UTF-8.

    Args:
        line: one jsonl line; a byte-order mark at its beginning is left out.
        text_key: key of the text; nested keys are joined by dots. A key that itself holds dots wins.

    Raises:
        Rejected: the line is no document.
    """
    document = _parse(line.removeprefix(UTF8_BOM))
    try:
        text = document[text_key]
    except (KeyError, TypeError):
        text = _look_up(document, text_key)
    if not isinstance(text, str):
        raise Rejected("not_text")
    if not text or text.isspace():
        raise Rejected("empty")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Rejected("bad_unicode") from None


def _parse(line: bytes) -> object:
    """Parse JSON fast; what the fast parser refuses, such as NaN or a lone surrogate, the standard one judges."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise Rejected("bad_unicode") from None
    except (ValueError, RecursionError):
        raise Rejected("bad_json") from None


def _look_up(document: object, text_key: str) -> object:
    if isinstance(document, dict) and text_key in document:
        return document[text_key]
    first, dot, rest = text_key.partition(".")
    if not dot or not isinstance(document, dict) or first not in document:
        raise Rejected("no_text")
    return _look_up(document[first], rest)
