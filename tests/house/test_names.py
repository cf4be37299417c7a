"""The grammar of file names."""

import json
import re
from pathlib import Path

import pytest

from pretrain_llama import names
from pretrain_llama.errors import DataError

PUBLISHED = Path(__file__).parents[1] / "data" / "published_mixtures"


@pytest.mark.parametrize(
    ("name", "language", "domain", "subdomain", "split_id"),
    [
        ("en_code_python_split_0003", "en", "code", "python", "0003"),
        ("trans-ar_books_open-web-math_split_0000", "trans-ar", "books", "open-web-math", "0000"),
        ("ar_web_arabicweb16_v2_split_00", "ar", "web", "arabicweb16_v2", "00"),
        (
            "ar_translated_En_wikipedia_split_translated_split_00",
            "ar",
            "translated",
            "En_wikipedia_split_translated",
            "00",
        ),
        ("en_a_b_split_1_split_12345", "en", "a", "b_split_1", "12345"),
        ("ar_books_split_00", "ar", "books", "", "00"),
        ("ar_Allam-books_000", "ar", "Allam-books", "", "000"),
        ("en_dolma-stack-code_027", "en", "dolma-stack-code", "", "027"),
    ],
)
def test_a_shard_name_parses_and_goes_back(
    name: str, language: str, domain: str, subdomain: str, split_id: str
) -> None:
    shard = names.parse_shard(name)
    assert (shard.language, shard.domain, shard.subdomain, shard.split_id) == (language, domain, subdomain, split_id)
    assert str(shard) == name


@pytest.mark.parametrize("suffix", ["", ".bin", ".idx"])
def test_a_counted_name_parses_and_goes_back(suffix: str) -> None:
    name = "en_code_python_split_0003_text_document_dc=9_sc=9_tc=700"
    counted = names.parse_counted(name + suffix)
    assert (counted.documents, counted.sequences, counted.tokens) == (9, 9, 700)
    assert str(counted) == name


def test_what_we_write_is_what_the_wildcards_accept() -> None:
    assert re.fullmatch(names.SHARD, names.shard_name("trans-ar_books_a_split_b", 7))
    assert re.fullmatch(names.SHARD, names.shard_name("en_code_python", 12345))
    assert not re.fullmatch(names.SHARD, "en_code_split_00")


@pytest.mark.parametrize("name", ["", "en", "en_code", "en code_python_split_0000", "en_code_python_split_x"])
def test_what_is_no_shard_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="is not the name of a shard"):
        names.parse_shard(name)


@pytest.mark.parametrize(
    "name", ["en_code_python_split_0003_text_document.bin", "en_code_python_split_0003_dc=1_sc=1_tc=1"]
)
def test_a_name_without_counts_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="carries no counts"):
        names.parse_counted(name)


@pytest.mark.parametrize("mixture", ["llama_en_ar_v1", "llama_en_reasoning_ar_lr_hyp_tune", "llama_ve_three_languages"])
def test_published_names_round_trip(mixture: str) -> None:
    published = json.loads((PUBLISHED / mixture / "signature.json").read_text())
    assert len(published) > 100
    for name in published:
        assert str(names.parse_counted(name)) == name.removesuffix(".bin").removesuffix(".idx")
