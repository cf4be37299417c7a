"""Files in results/ that belong to nothing in the configuration are named, and removed when a person says so."""

from pathlib import Path

from pretrain_llama.files import write_json
from pretrain_llama.status.orphans import Known, orphans, told_of

SHARD = "en_books_tales_split_0001"
KNOWN = Known({"en_books_tales": [SHARD]}, {"toy.01234567"}, {"big"}, ["tiny"])
COUNTED = f"{SHARD}_text_document_dc=1_sc=1_tc=2"
THERE = [
    "plan/en_books_tales.json",
    f"shards/{SHARD}.jsonl",
    f"tokenized/toy.01234567/{SHARD}_text_document.keys",
    f"tokenized/toy.01234567/{SHARD}_held_out_document.bin",
    f"indexed/toy.01234567/{COUNTED}.idx",
    "validation/toy.01234567/en_books.bin",
    "validation/toy.01234567/check_held_out.txt",
    "tokenizers/toy.01234567/tokenizer.model",
    "expansions/big.json",
    "expansions/big.01234567/pieces.tsv",
    "runs/tiny/data/x.bin",
    "logs/merge_shard/fr_books_tales_split_0000.log",
    "withdrawals.jsonl",
]
OTHERS = {
    "plan/fr_books_tales.json": "corpus fr_books_tales",
    "shards/fr_books_tales_split_0000.jsonl": "corpus fr_books_tales",
    "shards/en_books_tales_split_0000.receipt.json": "shards that left en_books_tales",
    "tokenized/toy.01234567/fr_books_tales_split_0000_text_document.bin": "corpus fr_books_tales",
    "tokenized/old.01234567/conservation.json": "tokenizer old.01234567",
    "tokenizers/old.01234567/tokenizer.model": "tokenizer old.01234567",
    f"indexed/toy.01234567/{SHARD}_text_document_dc=2_sc=2_tc=3.bin": "pairs that are not signed, of toy.01234567",
    "validation/toy.01234567/fr_books.idx": "validation set fr_books",
    "expansions/small.01234567/pieces.tsv": "expansion small",
    "runs/old/output/log.jsonl": "run old",
}


def test_only_what_belongs_to_nothing_is_named_with_its_bytes(tmp_path: Path) -> None:
    for number, name in enumerate([*THERE, *OTHERS]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(number))
    write_json(tmp_path / "tokenized/toy.01234567/data_signature.json", [f"toy.01234567/{COUNTED}.bin"])
    found = orphans(str(tmp_path), KNOWN)
    assert {orphan.location.removeprefix(f"{tmp_path}/"): orphan.owner for orphan in found} == OTHERS
    assert sum(orphan.bytes for orphan in found) == sum(range(len(THERE), len(THERE) + len(OTHERS)))
    lines = told_of(found)
    assert "  corpus fr_books_tales: 3 files, 43 bytes" in lines
    assert "remove_orphans.py 'corpus fr_books_tales'" in lines[-1]


def test_where_nothing_is_nothing_is_named(tmp_path: Path) -> None:
    assert orphans(str(tmp_path / "results"), KNOWN) == [] == told_of([])
