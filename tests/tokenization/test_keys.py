"""Keys of documents: one for each, in order, of the text as it is hashed; of old pairs they are made anew."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from xxhash import xxh3_128_hexdigest

from pretrain_llama.errors import DataError
from pretrain_llama.files import write_json
from pretrain_llama.names import HELD_OUT_SUFFIX
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.shards import merge, plan
from pretrain_llama.tokenization.engines import Reference, load_reference
from pretrain_llama.tokenization.frame import Frame, FrameToken
from pretrain_llama.tokenization.held_out import are_held_out
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.keying import write_keys
from pretrain_llama.tokenization.keys import KEYS_SUFFIX, keyed_pairs, read_keys
from pretrain_llama.tokenization.quarantine import RejectionLimits
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.tokenize import tokenize
from pretrain_llama.tokenization.withdrawn import parse_keys, withdrawn_keys
from project import PREFIX, SHARD, deliver, jsonl, plan_files, run_script

TEXTS = [f"A tale of {number} ships, and ▁ of the sea." for number in range(60)]
NONE = np.empty((0, 16), np.uint8)


@pytest.fixture(scope="module")
def reference(tokenizer_model: Path) -> Reference:
    return load_reference(tokenizer_model)


def key_of(text: str) -> str:
    return xxh3_128_hexdigest(text.replace("▁", " ").encode())


def tokenized(folder: Path, reference: Reference, withdrawn: np.ndarray | None = None) -> TokenizeReceipt:
    """Merge and tokenize TEXTS, with a blank line and a rejected one, a fifth of them held out."""
    content = jsonl(TEXTS[:30]) + b"\n{\n" + jsonl(TEXTS[30:])
    recorded = plan.read(plan_files(folder, deliver(folder / "vendor.jsonl", content)), SHARD)
    merged: MergeReceipt = merge.merge(recorded, SHARD, folder / "shard.jsonl")
    receipt = TokenizeReceipt(SHARD, "", "toy.01234567", True, True, 400, "uint16")
    frame, limits = Frame(FrameToken(1, "<s>"), FrameToken(2, "</s>"), 400), RejectionLimits(1.0, 9)
    jsonl_path = folder / "shard.jsonl"
    tokenize(
        reference, frame, receipt, merged, jsonl_path, "text", 2_000, limits, 0.2, folder / PREFIX, withdrawn=withdrawn
    )
    receipt.write(folder / f"{PREFIX}.receipt.json")
    return receipt


def keys_there(folder: Path, receipt: TokenizeReceipt) -> tuple[list[str], list[str]]:
    """The keys of what is trained on, and of what is held out."""
    trained = read_keys(folder / PREFIX, receipt.documents)
    held_out = read_keys(folder / f"{SHARD}{HELD_OUT_SUFFIX}", receipt.held_out_documents)
    return [key.tobytes().hex() for key in trained], [key.tobytes().hex() for key in held_out]


def test_each_document_has_its_key_in_order_on_its_side(tmp_path: Path, reference: Reference) -> None:
    receipt = tokenized(tmp_path, reference)
    out = are_held_out(Texts.of(text.encode() for text in TEXTS), 0.2)
    trained, held_out = keys_there(tmp_path, receipt)
    assert trained == [key_of(text) for text, is_out in zip(TEXTS, out, strict=True) if not is_out]
    assert held_out == [key_of(text) for text, is_out in zip(TEXTS, out, strict=True) if is_out] and held_out
    assert keyed_pairs(str(tmp_path)) == [str(tmp_path / f"{SHARD}{HELD_OUT_SUFFIX}"), str(tmp_path / PREFIX)]
    assert keyed_pairs(str(tmp_path / "none")) == []


def test_the_keys_of_an_older_pair_are_made_of_its_merged_text_or_of_the_vendors(
    tmp_path: Path, reference: Reference, tokenizer_model: Path
) -> None:
    receipt = tokenized(tmp_path, reference)
    before = keys_there(tmp_path, receipt)
    for name in (PREFIX, f"{SHARD}{HELD_OUT_SUFFIX}"):
        (tmp_path / f"{name}{KEYS_SUFFIX}").unlink()
    with pytest.raises(DataError, match="the keys of its documents are missing"):
        keys_there(tmp_path, receipt)
    args = receipt, reference, "text", 2_000, 0.2, tmp_path / PREFIX, NONE
    with open(tmp_path / "shard.jsonl", "rb") as text:
        write_keys(text, *args)
    assert keys_there(tmp_path, receipt) == before
    with pytest.raises(DataError, match=f"not that which {SHARD} was tokenized from"):
        write_keys(io.BytesIO(jsonl(TEXTS)), *args)
    with open(tmp_path / "shard.jsonl", "rb") as text, pytest.raises(DataError, match="documents and 0 held out"):
        write_keys(text, receipt, reference, "text", 2_000, 0.0, tmp_path / PREFIX, NONE)
    (tmp_path / "shard.jsonl").unlink()
    (tmp_path / f"{PREFIX}{KEYS_SUFFIX}").unlink()
    places = ["--receipt", tmp_path / f"{PREFIX}.receipt.json", "--jsonl", tmp_path / "shard.jsonl"]
    places += ["--plan", tmp_path / "plan.json", "--output-prefix", tmp_path / PREFIX]
    how = ["--text-key", "text", "--tokenizer-model", tokenizer_model, "--held-out-fraction", 0.2]
    result = run_script("key_documents.py", *places, *how, "--max-line-bytes", 2_000)
    assert result.returncode == 0, result.stderr
    assert keys_there(tmp_path, receipt) == before and not (tmp_path / "shard.jsonl").exists()


def test_a_document_that_was_called_back_is_not_tokenized_again(tmp_path: Path, reference: Reference) -> None:
    whole = tokenized(tmp_path, reference)
    trained, held_out = keys_there(tmp_path, whole)
    gone = {trained[3], held_out[0]}
    entry = {"keys": {"toy.01234567": sorted(gone), "other.01234567": [trained[0]]}}
    write_json(tmp_path / "record.json", entry)
    (tmp_path / "withdrawals.jsonl").write_text((tmp_path / "record.json").read_text().replace("\n", "") + "\n")
    keys = withdrawn_keys(tmp_path / "withdrawals.jsonl", "toy.01234567")
    assert {key.tobytes().hex() for key in keys} == gone
    receipt = tokenized(tmp_path, reference, keys)
    assert receipt.adds_up() and receipt.withdrawn == 2
    assert replace(receipt, withdrawn=0).adds_up() is False
    assert keys_there(tmp_path, receipt) == ([key for key in trained if key not in gone], held_out[1:])
    assert IndexedReader(tmp_path / PREFIX).documents == len(trained) - 1
    with open(tmp_path / "shard.jsonl", "rb") as text:
        write_keys(text, receipt, reference, "text", 2_000, 0.2, tmp_path / PREFIX, parse_keys(gone))
    assert keys_there(tmp_path, receipt)[1] == held_out[1:]
