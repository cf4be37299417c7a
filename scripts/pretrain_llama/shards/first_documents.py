"""Check a corpus's text key against its first documents, when the corpus is planned."""

from collections import Counter

import orjson

from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.shards.sources import SAMPLE_BYTES, first_bytes, is_parquet
from pretrain_llama.stores import SourceFile
from pretrain_llama.tokenization.documents import Rejected, text_of

FILES_LOOKED_AT = 3


def check_first_documents(files: list[SourceFile], corpus: Corpus) -> None:
    """Check that some line at the beginning of a corpus's first files has a text.

    It reads until it finds one: of most corpora the first 64 KiB, 256 KiB of a .zst. Files of longer lines say nothing.

    Args:
        files: of the corpus, in formats that are read; the column of parquet files is checked elsewhere.
        corpus: a row of the table.

    Raises:
        ConfigError: no line has the text key; names the keys that the first one has.
        DataError: all lines are blank, or rejected for other reasons.
    """
    looked_at = [file for file in files if file.size_bytes][:FILES_LOOKED_AT]
    reasons: Counter[str] = Counter()
    first: tuple[SourceFile, bytes] | None = None
    read_all = len(looked_at) == sum(file.size_bytes > 0 for file in files)
    for file in looked_at:
        if is_parquet(file.path):
            return
        text = first_bytes(file)
        is_whole = len(text) == file.size_bytes < SAMPLE_BYTES
        read_all &= is_whole
        for line in text.split(b"\n") if is_whole else text.split(b"\n")[:-1]:
            if not line.strip():
                continue
            try:
                text_of(line, corpus.text_key)
                return
            except Rejected as rejected:
                if str(rejected) == "empty":  # a text, under its key: the lines that follow may have longer ones
                    return
                reasons[str(rejected)] += 1
                first = first or (file, line)
    if first:
        raise _no_document(*first, reasons, corpus)
    if read_all:
        raise DataError(
            "all lines of the corpus are blank", where=corpus.where, action="fetch the vendor's files again"
        )


def _no_document(file: SourceFile, line: bytes, reasons: Counter[str], corpus: Corpus) -> ConfigError | DataError:
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    if set(reasons) == {"no_text"} and (keys := _keys(line)):
        return ConfigError(
            f"text_key {corpus.text_key!r} is in none of the first {reasons.total()} documents; "
            f"the keys of the first: {', '.join(keys)}",
            where=f"{corpus.where}: text_key; {file.path}",
            action="write the key of the text; of a nested one, the keys joined by dots",
        )
    return DataError(
        f"none of the first {reasons.total()} lines is a document: {counts}",
        where=file.path,
        action=f"have the vendor's file mended: a JSON object a line, with a text under {corpus.text_key!r}; "
        f"or leave it out of the source ({corpus.where})",
    )


def _keys(line: bytes) -> list[str]:
    document = orjson.loads(line)
    return list(document) if isinstance(document, dict) else []
