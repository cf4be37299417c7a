"""Report what tokenizers' certificates say in advance: which engine encodes, and which shards may have wrong ids."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from pretrain_llama import stores
from pretrain_llama.errors import listed
from pretrain_llama.tokenization.certificate import FILE_NAME, RECEIPT, Certificate
from pretrain_llama.tokenization.certifying import Alone, fast_engine
from pretrain_llama.tokenization.tokenizer import Tokenizer


def notices(identity: str, results: str) -> Iterator[str]:
    """Yield notices from a tokenizer's certificate, if it has one of this version.

    Args:
        identity: of the tokenizer.
        results: where results lie: a folder, or az://container/path.

    Raises:
        DataError: the certificate is no JSON.
    """
    certificate = Certificate.find(f"{results}/tokenizers/{identity}/{FILE_NAME}")
    if certificate is None:
        return
    if certificate.alone:
        yield _alone(identity, certificate.alone)
    if certificate.alone or certificate.differences:
        yield from _suspect(certificate, f"{results}/tokenized/{identity}")


def notices_beforehand(tokenizer: Tokenizer, results: str) -> Iterator[str]:
    """Yield the notices of a tokenizer; without a certificate, those that the fast engine gives; raises as `notices`.

    Args:
        tokenizer: as configured.
        results: where results lie: a folder, or az://container/path.
    """
    if Certificate.find(f"{results}/tokenizers/{tokenizer.identity}/{FILE_NAME}") is not None:
        yield from notices(tokenizer.identity, results)
        return
    try:
        fast_engine(tokenizer.reference)
    except Alone as reason:
        yield _alone(tokenizer.identity, str(reason))


def _alone(identity: str, why: str) -> str:
    return f"tokenizer {identity}: the reference engine encodes all documents, which is slower: {why}"


def _suspect(certificate: Certificate, tokenized: str) -> Iterator[str]:
    """Yield a notice of the shards that were made before there was a certificate, and not again since."""
    locations = [f"{tokenized}/{shard}{RECEIPT}" for shard in certificate.made_without]
    with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
        receipts = threads.map(stores.find_json, locations)
        shards = [receipt["shard"] for receipt in receipts if receipt and not receipt.get("certificate")]
    if shards:
        differing = f", such as {certificate.differences[0]['text']!r}" if certificate.differences else ""
        yield (
            f"tokenizer {certificate.tokenizer}: {len(shards):,} shards were made before it had a certificate. They "
            f"have wrong ids where a text holds what differs{differing}: {listed(shards)}\n"
            "  next:  audit_indexed.py --jsonl compares a shard with its text; to make one anew, delete its receipt in "
            f"{tokenized}"
        )
