"""Shards that a person excludes from a mixture."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from mixtures import compute, probabilities, write
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture import choices as chosen
from pretrain_llama.mixture.exclusion import Excluded

CORPORA = [("books", "tales"), ("web", "crawl")]


@pytest.mark.parametrize(
    "entry",
    [
        "en_books_tales_split_0000",
        "en_books_tales_split_0000_text_document",
        "en_books_tales_split_0000_text_document_dc=1_sc=1_tc=1",
        "en_books_tales_split_0000_text_document_dc=9_sc=9_tc=1000.bin",
        "en_books_tales_split_0000_text_document_dc=9_sc=9_tc=1000.idx",
        "other.01234567/en_books_tales_split_0000_text_document_dc=9_sc=9_tc=1000.bin",
        "en_books_*_split_0000",
        "en_books_*_split_0000_text_document_dc=9_sc=9_tc=7.bin",
        "*_tales_split_000[0-0].bin",
    ],
)
def test_an_exclude_list_outlives_its_tokenizer(tmp_path: Path, entry: str) -> None:
    result = compute(tmp_path, excluded=[entry, entry])
    assert result.returncode == 0, result.stderr
    assert "en_books_tales_split_0000" not in probabilities(tmp_path)
    assert "en_books_tales_split_0001" in probabilities(tmp_path)
    reported = "left out: en_books_tales_split_0000_text_document_dc=9_sc=9_tc=1000 (1,000 tokens): excluded"
    assert reported in result.stdout


def test_a_second_key_is_not_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "exclude_iterator.json", {"exclude_iterator_name": [], "exclude": ["en_web_*"]})
    with pytest.raises(ConfigError, match="not a list to exclude"):
        Excluded(path)


def test_an_excluded_domain_needs_no_rate(tmp_path: Path) -> None:
    result = compute(tmp_path, ratio={"books": 1, "news": 1}, excluded=["en_web_*"])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("globs", "all_are_out"),
    [
        (["en_web_crawl_split_????"], True),
        (["en_web_crawl_split_*"], True),
        (["en_web_crawl_split_[0-4]*", "en_web_crawl_split_[5-9]*"], True),
        (["en_web_crawl_split_0*"], False),
        (["en_web_crawl_split_0000"], False),
    ],
)
def test_only_a_corpus_that_is_excluded_whole_needs_no_rate(
    tmp_path: Path, globs: list[str], all_are_out: bool
) -> None:
    write(tmp_path / "data_ratio.json", {"books": 1})
    write(tmp_path / "lang_prob.json", {"en": 1})
    write(tmp_path / "exclude_iterator.json", {"exclude_iterator_name": globs})
    corpora = [Corpus("en", domain, subdomain, "", "text", "") for domain, subdomain in CORPORA]
    planned = [f"en_web_crawl_split_{digit}000" for digit in range(10)]
    refused = pytest.raises(ConfigError, match="domain 'web' of language 'en' has no rate")
    with nullcontext() if all_are_out else refused:
        chosen.check_against_corpora(tmp_path, corpora, planned, {})
