"""The record of what was called back, results/withdrawals.jsonl, and the keys in it that are never tokenized again.

A line each, without any text: {"when", "who", "why", "corpora", "files", "keys", "shards", "documents", "tokens",
"bytes", "runs"}. `keys` has hexadecimal digits by tokenizer: keys are of the text as a tokenizer normalizes it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pretrain_llama import stores
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.tokenization.keys import KEY_BYTES

RECORD = "withdrawals.jsonl"
JOURNAL = "withdrawing.json"  # while a withdrawal is carried out


def read_record(location: str | Path) -> list[dict[str, Any]]:
    """Return what was called back; location: of withdrawals.jsonl, which need not be there.

    Raises:
        DataError: a line is no record.
    """
    lines = (stores.read_small(location) or b"").splitlines()
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise DataError(
            f"no record of withdrawals: {error}", where=location, action="bring it back from a copy: it only grows"
        ) from None


def withdrawn_keys(location: str | Path, tokenizer: str) -> np.ndarray:
    """Return the keys of a tokenizer that were called back, (keys, 16) uint8; location: of withdrawals.jsonl, or ""."""
    entries = read_record(location) if location else []
    return parse_keys({key for entry in entries for key in entry["keys"].get(tokenizer, ())})


def parse_keys(keys: set[str]) -> np.ndarray:
    """Return keys that are given in hexadecimal digits, (keys, 16) uint8."""
    return np.frombuffer(bytes.fromhex("".join(sorted(keys))), np.uint8).reshape(-1, KEY_BYTES)


def are_among(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Say which keys are among others, (keys,) bool; both: (any number, 16) uint8."""
    if not len(wanted):
        return np.zeros(len(keys), bool)
    among = np.isin(np.ascontiguousarray(keys).view("<u8")[:, 0], np.ascontiguousarray(wanted).view("<u8")[:, 0])
    known = {key.tobytes() for key in wanted}
    for place in np.flatnonzero(among).tolist():
        among[place] = keys[place].tobytes() in known
    return among


def check_no_withdrawal(results: str) -> None:
    """Check that no withdrawal was interrupted; results: where results lie.

    Raises:
        OperatorError: one was.
    """
    journal = stores.find_json(f"{results}/{JOURNAL}")
    if journal:
        raise OperatorError(
            f"a withdrawal was interrupted, begun {journal['when']} by {journal['who']}: {journal['why']}",
            where=f"{results}/{JOURNAL}",
            action="type the same scripts/withdraw.py … --yes again, which goes on",
        )
