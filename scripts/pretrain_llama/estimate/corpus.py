"""Estimate a corpus's tokens before it is tokenized, from the beginning of some of its files."""

import io

from pretrain_llama.shards.planned import Plan, live_shards
from pretrain_llama.shards.sources import blocks_of
from pretrain_llama.tokenization.documents import Rejected, text_of
from pretrain_llama.tokenization.engines import Reference
from pretrain_llama.tokenization.texts import Texts

SAMPLED_FILES = 8
SAMPLED_BYTES_A_FILE = 1 << 16


def tokens_a_byte(plan: Plan, text_key: str, reference: Reference) -> float:
    """Return tokens per byte of jsonl, BOS and EOS not counted, from the first documents of up to eight files.

    About 64 KiB of each file are encoded; 0 if there is no document in them.
    """
    paths = sorted({part["path"] for shard in live_shards(plan).values() for part in shard["ranges"]})
    tokens = size = 0
    for path in paths[:: -(-len(paths) // SAMPLED_FILES)]:
        beginning = next(blocks_of(path, 0, None, text_key), b"")
        enough = size + SAMPLED_BYTES_A_FILE
        for line in io.BytesIO(beginning):
            if size >= enough:
                break
            try:
                tokens += len(reference.encode(Texts.of([text_of(line, text_key)]))[0])
                size += len(line)
            except Rejected:
                continue
    return tokens / size if size else 0.0
