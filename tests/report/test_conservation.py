"""Every vendor line is a document, blank, or rejected with a reason: whatever the lines are, whatever dies."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.shards import merge, plan
from pretrain_llama.tokenization.certificate import Certificate
from pretrain_llama.tokenization.documents import Rejected, text_of, texts_of
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.frame import Frame, FrameToken
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.parity import CertifiedEngine
from pretrain_llama.tokenization.quarantine import RejectionLimits
from pretrain_llama.tokenization.tokenize import Engine, tokenize
from project import PREFIX, SHARD, Project, deliver, jsonl, plan_files

MAX_LINE_BYTES = 2_000
FRAME = Frame(FrameToken(1, "<s>"), FrameToken(2, "</s>"), 400)


@pytest.fixture(scope="session")
def engine(tokenizer_model: Path) -> CertifiedEngine:
    reference = load_reference(tokenizer_model)
    return CertifiedEngine(reference, Certificate.of(reference, "toy.01234567"), 2)


def through_both_hops(
    folder: Path, engine: Engine, *files: Path, held_out_fraction: float = 0.0
) -> tuple[MergeReceipt, TokenizeReceipt, list[dict]]:
    """Plan, merge and tokenize vendor files in this process; return the receipts and the quarantine."""
    recorded = plan.read(plan_files(folder, *files), SHARD)
    merged = merge.merge(recorded, SHARD, folder / "shard.jsonl")
    receipt = TokenizeReceipt(SHARD, "", "toy.01234567", True, True, 400, "uint16")
    tokenize(
        engine,
        FRAME,
        receipt,
        merged,
        folder / "shard.jsonl",
        "text",
        MAX_LINE_BYTES,
        RejectionLimits(1.0, 1000),
        held_out_fraction,
        folder / PREFIX,
    )
    quarantine = (folder / f"{PREFIX}.rejected.jsonl").read_text().splitlines()
    pair = IndexedReader(folder / PREFIX)
    assert (pair.documents, pair.tokens) == (receipt.documents, receipt.tokens)
    held_out = IndexedReader(folder / f"{SHARD}_held_out_document")
    assert (held_out.documents, held_out.tokens) == (receipt.held_out_documents, receipt.held_out_tokens)
    assert receipt.adds_up() and merged.adds_up()
    return merged, receipt, [json.loads(line) for line in quarantine]


GOOD = jsonl([f"A tale of {number} ships, and of the sea." for number in range(10)])
OVERHEAD = len(jsonl([""]))
# What is done to ten good lines, and what it makes of the counts: (documents, blank, rejected by reason).
DEFECTS: dict[str, tuple[Callable[[bytes], bytes], int, int, dict[str, int]]] = {
    "none": (lambda good: good, 10, 0, {}),
    "no final newline": (lambda good: good[:-1], 10, 0, {}),
    "crlf": (lambda good: good.replace(b"\n", b"\r\n"), 10, 0, {}),
    "byte-order mark": (lambda good: b"\xef\xbb\xbf" + good, 10, 0, {}),
    "blank lines": (lambda good: b"\n" + good + b" \t\r\n\n", 10, 3, {}),
    "cut line": (lambda good: good[:-5], 9, 0, {"bad_json": 1}),
    "no json": (lambda good: good + b"<html>\n", 10, 0, {"bad_json": 1}),
    "two documents in a line": (lambda good: good.replace(b"}\n{", b"}{", 1), 8, 0, {"bad_json": 1}),
    "deep nesting": (lambda good: good + b"[" * 1_900 + b"\n", 10, 0, {"bad_json": 1}),
    "no text key": (lambda good: good + b'{"content": "x"}\n', 10, 0, {"no_text": 1}),
    "a list": (lambda good: good + b'["x"]\n', 10, 0, {"no_text": 1}),
    "a number": (lambda good: good + b"7\n", 10, 0, {"no_text": 1}),
    "null": (lambda good: good + b'{"text": null}\n', 10, 0, {"not_text": 1}),
    "text is a list": (lambda good: good + b'{"text": ["x"]}\n', 10, 0, {"not_text": 1}),
    "empty text": (lambda good: good + b'{"text": ""}\n{"text": " \\n\\t"}\n', 10, 0, {"empty": 2}),
    "latin-1": (lambda good: good + '{"text": "café"}\n'.encode("latin-1"), 10, 0, {"bad_unicode": 1}),
    "cut within a character": (lambda good: good + '{"text": "حكاية'.encode()[:-1], 10, 0, {"bad_unicode": 1}),
    "lone surrogate": (lambda good: good + b'{"text": "\\ud83d"}\n', 10, 0, {"bad_unicode": 1}),
    "utf-16": (lambda good: good + '{"text": "x"}'.encode("utf-16-le") + b"\n", 10, 0, {"bad_json": 1}),
    "nul bytes": (lambda good: good + b"\0\0\0\n", 10, 0, {"bad_json": 1}),
    "a byte too long": (lambda good: good + jsonl(["x" * (MAX_LINE_BYTES + 1 - OVERHEAD)]), 10, 0, {"too_long": 1}),
    "long line": (lambda good: good + jsonl(["x" * MAX_LINE_BYTES]), 10, 0, {"too_long": 1}),
    "longest line": (lambda good: good + jsonl(["x" * (MAX_LINE_BYTES - OVERHEAD)]), 11, 0, {}),
    "longest line, of a block read line by line": (
        lambda good: b"\n" + good + jsonl(["x" * (MAX_LINE_BYTES - OVERHEAD)]),
        11,
        1,
        {},
    ),
    "several": (lambda good: b"{\n\n[]\n" + good + b'{"text": 1}', 10, 1, {"bad_json": 1, "no_text": 1, "not_text": 1}),
}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_has_its_exact_receipt(tmp_path: Path, engine: CertifiedEngine, defect: str, suffix: str) -> None:
    spoil, documents, blank, rejected = DEFECTS[defect]
    spoilt = deliver(tmp_path / f"spoilt{suffix}", spoil(GOOD))
    sound = deliver(tmp_path / f"whole{suffix}", GOOD)
    _, receipt, quarantine = through_both_hops(tmp_path, engine, spoilt, sound)
    assert (receipt.documents, receipt.blank, receipt.rejected) == (documents + 10, blank, rejected)
    assert receipt.lines == documents + 10 + blank + sum(rejected.values())
    assert sorted(entry["reason"] for entry in quarantine) == sorted(
        reason for reason, count in rejected.items() for _ in range(count)
    )
    lines = spoil(GOOD).split(b"\n")
    for entry in quarantine:
        original = lines[entry["line"] - 1].rstrip(b"\r")
        assert entry["text"].encode("utf-8", "surrogateescape") == original, "whole, and where it says"


def test_each_parquet_row_has_its_exact_receipt(tmp_path: Path, engine: CertifiedEngine) -> None:
    rows = [
        {"text": text, "id": 1} for text in ["A tale.", None, "", "\n", "line\nbreak", "x" * MAX_LINE_BYTES, "حكاية"]
    ]
    path = deliver(tmp_path / "a.parquet", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    merged, receipt, _ = through_both_hops(tmp_path, engine, path)
    assert merged.lines == 7
    assert (receipt.documents, receipt.rejected) == (3, {"empty": 2, "not_text": 1, "too_long": 1})


LINES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=60).map(lambda text: json.dumps({"text": text}).encode()),
    st.dictionaries(st.sampled_from(["text", "id"]), st.text() | st.none() | st.floats() | st.lists(st.integers())).map(
        lambda document: json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ),
    st.sampled_from([b"", b" ", b"\xef\xbb\xbf", b"NaN", b'{"text": 1e999}', b"[" * 1_500, b"9" * 5_000]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(LINES, max_size=6), min_size=1, max_size=3), st.booleans())
def test_whatever_the_lines_the_sum_holds(
    tmp_path: Path, engine: CertifiedEngine, files: list[list[bytes]], final_newline: bool
) -> None:
    contents = [b"\n".join(lines) + (b"\n" if final_newline else b"") for lines in files]
    contents.append(jsonl(["good"]))
    paths = [deliver(tmp_path / f"{number}.jsonl", content) for number, content in enumerate(contents)]
    merged, receipt, quarantine = through_both_hops(tmp_path, engine, *paths, held_out_fraction=0.5)
    expected = sum(content.count(b"\n") + (not content.endswith(b"\n")) for content in contents if content)
    assert merged.lines == receipt.lines == expected
    documents = receipt.documents + receipt.held_out_documents
    assert receipt.lines == documents + receipt.blank + len(quarantine)
    assert sum(receipt.rejected.values()) == len(quarantine)


PARTS = rb""" "text": "a.text": "a": "id": "x" "" "\ud83d" "\u0000" { } [ ] , 1 01 1e999 NaN null tru """.split()
PARTS += rb"-NaN nan Inf -Inf +Inf Infinity -Infinity".split()
PARTS += ['"حكاية"'.encode(), b'"\xff"', b'" "', b" ", b"\r", b"9" * 5_000, b"[" * 1_500 + b"]" * 1_500]
OBJECTS = st.lists(st.sampled_from(PARTS), max_size=12).map(lambda parts: b"{" + b"".join(parts) + b"}")
WITH_A_FIELD = st.sampled_from(PARTS).map(lambda value: b'{"text": "x", "id": ' + value + b"}")

# A nested text, beside keys of which some are the dotted one.
KEYS = rb"a.text a\u002etext \u0061.text b/c.text b\/c.text b\u002fc.text id".split()
NESTED = st.tuples(st.sampled_from(KEYS), st.sampled_from([b"a", b"b/c", rb"b\/c", rb"\u0061"])).map(
    lambda keys: b'{"%s": "dotted", "%s": {"text": "nested"}}' % keys
)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(LINES | OBJECTS | WITH_A_FIELD, min_size=1, max_size=4) | st.lists(NESTED, min_size=1, max_size=4),
    st.sampled_from(["text", "a.text", "b/c.text"]),
)
def test_whole_blocks_are_read_as_their_lines_are(lines: list[bytes], text_key: str) -> None:
    block = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
    texts = texts_of(block, text_key, MAX_LINE_BYTES)
    if texts is not None:
        singly = [text_of(line, text_key) for line in block.splitlines()]
        assert [texts[number] for number in range(len(texts))] == singly


@pytest.mark.parametrize("number", ["NaN", "-NaN", "Inf", "-Inf", "Infinity", "-Infinity"])
def test_what_is_no_number_loses_no_document_in_either_way(number: str) -> None:
    line = b'{"text": "good", "score": %s}' % number.encode()
    texts = texts_of(line + b"\n", "text", MAX_LINE_BYTES)
    assert texts is not None and list(texts) == [text_of(line, "text")] == [b"good"]


def test_a_text_of_any_white_space_is_empty_in_either_way() -> None:
    spaces = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    assert len(spaces) > 20
    for space in spaces:
        line = jsonl([space * 2])
        assert texts_of(jsonl(["good"]) + line, "text", MAX_LINE_BYTES) is None, f"{space!r} is left to text_of"
        with pytest.raises(Rejected, match="empty"):
            text_of(line, "text")


@pytest.mark.parametrize(
    ("text_key", "key"),
    [("data.text", rb"data\u002etext"), ("data.text", rb"d\u0061ta.text"), ("a/b.text", rb"a\/b.text")],
)
def test_a_dotted_key_that_escapes_spell_wins(text_key: str, key: bytes) -> None:
    nested = text_key.removesuffix(".text").encode()
    line = b'{"%s": "dotted", "%s": {"text": "nested"}}' % (key, nested)
    assert text_of(line, text_key) == b"dotted"
    assert texts_of(line + b"\n", text_key, MAX_LINE_BYTES) is None, "left to text_of"
    assert texts_of(rb'{"text": "caf\u00e9"}' + b"\n", "text", MAX_LINE_BYTES) is not None, "a key without dots"


def test_sound_blocks_are_read_whole(built: Project) -> None:
    for path in (built.folder / "results" / "shards").glob("*.jsonl"):
        for block in (path.read_bytes(), path.read_bytes().replace(b"\n", b"\r\n")):
            assert texts_of(block, "text", MAX_LINE_BYTES) is not None


@pytest.mark.parametrize("counted", [True, False], ids=["merged here", "joined inside a store, without a count"])
def test_rejected_lines_say_which_line_of_which_range_they_were(
    tmp_path: Path, engine: CertifiedEngine, counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretrain_llama.tokenization.lines.BLOCK_BYTES", 200)
    crumbs = [deliver(tmp_path / f"{n:02d}.jsonl", jsonl(["x"] * n) + b"crumb %d" % n) for n in range(30)]
    large = jsonl([f"A tale of {number} ships." for number in range(100)])
    large = large.replace(b'{"text": "A tale of 50 ships."}', b"fifty").replace(
        b'{"text": "A tale of 90 ships."}', b"x" * 3000
    )
    recorded = plan.read(plan_files(tmp_path, *crumbs, deliver(tmp_path / "large.jsonl", large)), SHARD)
    middle = {"path": str(tmp_path / "large.jsonl"), "start": 1_000, "stop": len(large)}
    recorded["shards"][0]["ranges"][-1] = middle
    merged = merge.merge(recorded, SHARD, tmp_path / "shard.jsonl")
    if not counted:
        merged.lines, merged.blake3 = None, ""
        for part in merged.ranges:
            part.lines = None
        assert merged.adds_up()
    receipt = TokenizeReceipt(SHARD, "", "toy.01234567", True, True, 400, "uint16")
    places = [tmp_path / "shard.jsonl", "text", MAX_LINE_BYTES, RejectionLimits(1.0, 1000), 0.0, tmp_path / PREFIX]
    tokenize(engine, FRAME, receipt, merged, *places)
    entries = [json.loads(line) for line in (tmp_path / f"{PREFIX}.rejected.jsonl").read_text().splitlines()]
    assert [(Path(entry["file"]).name, entry["line"]) for entry in entries[:-2]] == [
        (path.name, n + 1) for n, path in enumerate(crumbs)
    ]
    counted_from = large[1_000:].partition(b"\n")[2].splitlines()
    for entry, reason in zip(entries[-2:], ["bad_json", "too_long"], strict=True):
        assert (entry["start"], entry["reason"]) == (1_000, reason)
        assert counted_from[entry["line"] - 1].decode() == entry["text"]
