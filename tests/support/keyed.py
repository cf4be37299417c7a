"""Tokenized shards with keys, made without a tokenizer: a document has an id for each letter."""

from pathlib import Path

from pairs import write_pair
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.keys import keys_of


def tokenized(folder: Path, shard: str, texts: list[str], held_out: list[str] | None = None) -> None:
    """Write the pairs, keys and receipt of a shard; a document has an id for each letter."""
    held_out = held_out or []
    for suffix, documents in ((PREFIX_SUFFIX, texts), (HELD_OUT_SUFFIX, held_out)):
        write_pair(folder / f"{shard}{suffix}", [[ord(letter) for letter in text] for text in documents])
        (folder / f"{shard}{suffix}.keys").write_bytes(keys_of([t.encode() for t in documents]).tobytes())
    receipt = TokenizeReceipt(shard, "", "toy.01234567", False, False, 400, "uint16")
    receipt.lines = len(texts) + len(held_out)
    receipt.documents = receipt.sequences = len(texts)
    receipt.held_out_documents, receipt.held_out_tokens = len(held_out), sum(map(len, held_out))
    receipt.tokens = receipt.text_bytes = sum(map(len, texts))
    receipt.write(folder / f"{shard}{PREFIX_SUFFIX}.receipt.json")


def key_of(text: str) -> str:
    """The key of a text, in hexadecimal digits."""
    return keys_of([text.encode()]).tobytes().hex()


def texts_of(prefix: Path) -> list[str]:
    """The documents of a pair, as text."""
    pair = IndexedReader(prefix)
    starts = (pair.offsets // pair.dtype.itemsize).tolist()
    found = (pair.tokens_array[s : s + n] for s, n in zip(starts, pair.lengths.tolist(), strict=True))
    return ["".join(map(chr, ids.tolist())) for ids in found]
