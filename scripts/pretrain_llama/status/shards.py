"""Count each corpus's shards by stage."""

import glob
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pretrain_llama import stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, PretrainError
from pretrain_llama.names import PREFIX_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.shards import plan
from pretrain_llama.shards.changes import is_withdrawn
from pretrain_llama.vocabulary.promises import Kept


@dataclass
class CorpusStatus:
    """The shards of a corpus by stage, and the documents and tokens of those that are tokenized.

    Attributes:
        planned: shards in the recorded plan.
        new_files: vendor files that no plan holds yet.
        kept: how far an expansion leaves its documents as they were; of no document where it promises nothing.
        problem: why its vendor files or its receipts cannot be read.
    """

    corpus: str
    planned: int = 0
    merged: int = 0
    tokenized: int = 0
    documents: int = 0
    tokens: int = 0
    held_out: int = 0
    rejected: int = 0
    new_files: int = 0
    kept: Kept = field(default_factory=Kept)
    problem: str = ""

    def add(self, receipt: TokenizeReceipt) -> None:
        """Count a tokenized shard."""
        self.tokenized += 1
        self.documents += receipt.documents
        self.tokens += receipt.tokens
        self.held_out += receipt.held_out_documents
        self.rejected += sum(receipt.rejected.values())
        self.kept.add(receipt)


def corpus_status(corpus: Corpus, results: str, tokenizer: str) -> CorpusStatus:
    """Return a corpus's progress, from a listing of each stage's receipts, and from those of tokenizing.

    Args:
        corpus: a row of the table.
        results: where results lie: a folder, or az://container/path.
        tokenizer: identity of the tokenizer whose shards are counted.
    """
    recorded = plan.load(f"{results}/plan/{corpus.name}.json", corpus)
    shards = plan.shard_names(recorded)
    status = CorpusStatus(corpus.name, planned=len(shards))
    merged = [f"{results}/shards/{shard}.receipt.json" for shard in shards]
    tokenized = [f"{results}/tokenized/{tokenizer}/{shard}{PREFIX_SUFFIX}.receipt.json" for shard in shards]
    try:
        status.merged = len(_those_there(f"{results}/shards/{corpus.name}", merged))
        there = _those_there(f"{results}/tokenized/{tokenizer}/{corpus.name}", tokenized)
        with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
            for receipt in threads.map(TokenizeReceipt.read, there):
                status.add(receipt)
        listing = stores.list_files(corpus.source, corpus.where)
        listed = {file.path for file in listing if not is_withdrawn(recorded, file)}
        status.new_files = len(listed - recorded["files"].keys())
    except PretrainError as error:
        status.problem = str(error)
    return status


def total(corpora: list[CorpusStatus]) -> CorpusStatus:
    """Return the sums."""
    summed = CorpusStatus("total")
    for status in corpora:
        for key, value in vars(status).items():
            if isinstance(value, int):
                setattr(summed, key, getattr(summed, key) + value)
    return summed


def _those_there(beginning: str, receipts: list[str]) -> list[str]:
    """Return those receipts that are there; all of them begin alike."""
    try:
        there = {file.path for file in stores.list_files(f"{glob.escape(beginning)}_*.receipt.json", "")}
    except ConfigError:  # none is
        return []
    return [receipt for receipt in receipts if receipt in there]
