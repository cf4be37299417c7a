"""What is kept of rejected lines is bounded, whatever the lines are; and a shard ends where its limits are passed."""

import io
import json
from pathlib import Path

import pytest

from pretrain_llama.errors import DataError
from pretrain_llama.receipts import MergedRange
from pretrain_llama.tokenization.quarantine import KEPT_BYTES, LimitsPassed, Quarantine, RejectionLimits
from project import PREFIX, deliver, merge_shard, tokenize_shard

RANGE = MergedRange("vendor.jsonl", 0, 100, 1, 100)
ALL = RejectionLimits(1.0, 10, 1 << 62)


@pytest.mark.parametrize("byte", [b"\0", b"\xff", "\U0001f999".encode(), b'"', b"x"])
@pytest.mark.parametrize("limit", [1, 300, 5_000, 1 << 62])
def test_no_more_is_written_than_twice_what_is_read(byte: bytes, limit: int) -> None:
    line, file = byte * (3 * KEPT_BYTES // len(byte)), io.StringIO()
    quarantine = Quarantine(file, "shard", RejectionLimits(1.0, 10, limit), len(line) + 7, 2)
    quarantine.reject(RANGE, 1, "bad_json", [line[:1000], line[1000:]])
    quarantine.reject(RANGE, 2, "bad_json", [b"short"])
    written = file.getvalue()
    assert len(written) <= min(limit, 2 * len(line) + 14)
    assert (quarantine.bytes, quarantine.reasons) == (len(line) + 5, {"bad_json": 2})
    kept = [json.loads(row) for row in written.splitlines()]
    for row in kept:
        restored = row["text"].encode("utf-8", "surrogateescape")
        assert (line if row["line"] == 1 else b"short").startswith(restored)
        assert row.get("cut", False) is (restored not in (line, b"short"))
    if limit > 5_000:
        assert len(written) > len(line), "what there is room for is kept"


def test_lines_beyond_what_is_kept_are_counted() -> None:
    file = io.StringIO()
    quarantine = Quarantine(file, "shard", RejectionLimits(1.0, 10, 1_000), 10_000, 100)
    for number in range(100):
        quarantine.reject(RANGE, number, "no_text", [b"{}"])
    assert quarantine.reasons.total() == 100
    assert 5 < len(file.getvalue().splitlines()) < 15 and len(file.getvalue()) <= 1_000
    quarantine.check(documents=1, lines=100)


def test_a_shard_ends_when_its_limits_are_passed_for_sure() -> None:
    quarantine = Quarantine(io.StringIO(), "shard", RejectionLimits(0.01, 3), 10_000, 1_000)
    for number in range(10):
        quarantine.reject(RANGE, number, "no_text", [b"{}"])
    with pytest.raises(LimitsPassed, match=r"so far 11 of 1000 lines of shard are rejected: 11 no_text"):
        quarantine.reject(RANGE, 10, "no_text", [b"{}"])
    unknown = Quarantine(io.StringIO(), "shard", RejectionLimits(0.01, 3), 1_000, None)
    for number in range(10):
        unknown.reject(RANGE, number, "no_text", [b"{}"])
    with pytest.raises(LimitsPassed, match="so far 11 lines of shard"):
        unknown.reject(RANGE, 10, "no_text", [b"{}"])
    with pytest.raises(DataError, match="of 500 lines of shard are rejected"):
        unknown.check(1, 500)
    taken = []

    def pieces() -> object:
        for number in range(100):
            taken.append(number)
            yield b"x" * 65_536

    large = Quarantine(io.StringIO(), "shard", RejectionLimits(0.01, 3), 100 * 65_536, 1)
    with pytest.raises(LimitsPassed, match=r"so far 1 of 1 lines.*1 too_long"):
        large.reject(RANGE, 1, "too_long", pieces())
    assert len(taken) == 4, "of a line that is a whole file, no more is read"


def test_a_bomb_ends_with_a_message_and_its_beginning(tmp_path: Path, tokenizer_model: Path) -> None:
    bomb = b'{"text": "a tale"}\n' * 3 + b"\0" * 42_000_000 + b"\n"
    assert merge_shard(tmp_path, deliver(tmp_path / "vendor.jsonl.gz", bomb)).returncode == 0
    result = tokenize_shard(tmp_path, tokenizer_model, "--max-rejected-bytes", 2_000_000)
    assert result.returncode == 2 and "so far 1 of 4 lines" in result.stderr, result.stderr
    written = tmp_path / f"{PREFIX}.rejected.jsonl"
    assert written.stat().st_size <= 2_000_000 and json.loads(written.read_text())["cut"] is True
