"""Nothing about a mixture is silent: what looks forgotten is an error or a listed omission, the rest is an error."""

import json
from pathlib import Path

import pytest

from mixtures import RATIO, RUN, SIGNATURE, compute, probabilities, written
from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError

STALE = SIGNATURE[0].replace("tc=500", "tc=501")
EMPTY = "en_web_empty_split_0000_text_document_dc=0_sc=0_tc=0.bin"

# What --omissions list turns into a listed omission: choices; problem; next action; shards left out; keys.
FORGOTTEN = {
    "a domain without a rate": (
        {"ratio": {"en": {"books": 1}, "ar": {"news": 1}}},
        "domain 'web' of language 'en' has no rate",
        "add rates; 0 leaves out",
        {"en_web_crawl_split_0000": 2000},
    ),
    "a subdomain without a rate": (
        {"ratio": {"en": {"books": {"tails": 1}, "web": 1}, "ar": {"news": 1}}},
        "domain 'books' of language 'en' has no rate for subdomain 'tales'",
        "write 'tales' for 'tails'",
        {"en_books_tales_split_0000": 1000, "en_books_tales_split_0001": 3000},
    ),
    "a rate without a shard": (
        {"ratio": {"en": {"books": 1, "web": 1, "bokos": 3}, "ar": {"news": 1}}},
        "the rate of en.bokos matches no shard",
        "write 'books' for 'bokos', or remove it",
        {},
    ),
    "a rate of a language without shards": (
        {"ratio": RATIO | {"de": {"web": 1}}},
        "the rate of de.web matches no shard",
        "correct or remove it; there are books, news, web",
        {},
    ),
    "a rate of a whole language": (
        {"ratio": {"books": 1, "web": 1, "news": 1, "ar": 2}},
        "the rate of ar matches no shard",
        "'ar' is a language: give its domains numbers",
        {},
    ),
    "an excluded shard that is not there": (
        {"excluded": ["en_books_tale_split_0000.bin"]},
        "excluded 'en_books_tale_split_0000.bin' matches no shard",
        "names are those of the signature",
        {},
    ),
    "a glob that matches nothing": (
        {"excluded": ["en_poems_*"]},
        "excluded 'en_poems_*' matches no shard",
        "correct or remove it",
        {},
    ),
    "a language without a probability": (
        {"shares": {"en": 1}},
        "language 'ar' has no probability",
        "add its probability",
        {"ar_news_daily_split_0000": 500},
    ),
    "a probability without shards": (
        {"shares": {"en": 3, "ar": 1, "fr": 4}},
        "language 'fr' has a probability, but no shard to sample",
        "remove it, or give one of its domains a rate above 0",
        {},
    ),
    "a probability of what is left out": (
        {"ratio": {"books": 0, "web": 0, "news": 1}},
        "language 'en' has a probability, but no shard to sample",
        "give one of its domains a rate above 0",
        {},
    ),
    "a cap without a shard": (
        {"mixture": {"max_epochs": {"en": {"poems": 4}}}},
        "the max_epochs of en.poems matches no shard",
        "correct or remove it; there are books, web",
        {},
    ),
    "a weighting without a shard": (
        {"mixture": {"weighting": {"fr": {"temperature": 2}}}},
        "the weighting of fr matches no shard",
        "correct or remove it",
        {},
    ),
}

WRONG = {
    "two counts": ({"signature": [*SIGNATURE, STALE]}, "ar_news_daily_split_0000 stands there twice, as", "stale one"),
    "an entry twice": ({"signature": [*SIGNATURE, SIGNATURE[0]]}, f"{SIGNATURE[0]} stands there twice", "remove one"),
    "a .bin without its .idx": (
        {"signature": [*SIGNATURE, SIGNATURE[0].replace(".bin", ".idx")]},
        f"{SIGNATURE[1]} has no .idx, and 2 more",
        "list both of each shard",
    ),
    "an .idx without its .bin": (
        {"signature": [SIGNATURE[0], SIGNATURE[0].replace(".bin", ".idx"), SIGNATURE[1].replace(".bin", ".idx")]},
        f"{SIGNATURE[1].replace('.bin', '.idx')} has no .bin",
        "list both of each shard",
    ),
    "two tokenizers": (
        {"signature": [f"toy.0123456{number}/{name}" for number, name in enumerate(SIGNATURE)]},
        "shards of different tokenizers: toy.01234560, toy.01234561",
        "the shards of one tokenizer",
    ),
    "no counts": ({"signature": ["ar_news_daily_split_0000.bin"]}, "carries no counts", "_dc={documents}"),
    "an empty signature": ({"signature": []}, "no list of names of shards", "one for each shard"),
    "a signature of another form": ({"signature": {"shards": 1}}, "no list of names of shards", "one for each shard"),
    "a signature that is no JSON": ({"signature": "[,]"}, "no JSON", "write it anew, or bring it back"),
    "an empty result": (
        {"excluded": ["*"], "shares": '"proportional"'},
        "the mixture is empty: no shard is left to sample",
        "exclude less",
    ),
    "a rate that is no number": ({"ratio": {"en": {"books": "1"}}}, "'1' is no rate", "ratio.json: en.books"),
    "a negative rate": ({"ratio": RATIO | {"x": {"y": -1}}}, "-1 is no rate", "0, which leaves it out"),
    "an infinite rate": ({"ratio": '{"books": Infinity}'}, "inf is no rate", "or 0, which leaves it out"),
    "rates that are a list": ({"ratio": [1]}, "not an object with keys", "as in config/runs/demo"),
    "rates that are no JSON": ({"ratio": "{books: 1}"}, "no JSON: Expecting property name", "at the place named"),
    "rates that are no YAML": ({"ratio": "{books: ", "suffix": ".yaml"}, "no YAML: ", "at the place named"),
    "a domain twice": ({"ratio": '{"books": 1, "books": 2}'}, "key 'books' stands there twice", "keep one of the two"),
    "a domain twice in YAML": (
        {"ratio": "books: 1\nbooks: 2\n", "suffix": ".yaml"},
        "key 'books' stands there twice",
        "keep one of the two",
    ),
    "a probability of 0": ({"shares": {"en": 1, "ar": 0}}, "0 is no probability", "give a number from 1e-15"),
    "a misspelt word": ({"shares": '"proportionate"'}, "not an object with keys", '"proportional"'),
    "an exclude list of another form": ({"excluded": "en_*"}, "not a list to exclude", "exclude_iterator_name"),
    "a glob of counts": (
        {"excluded": ["en_web_*_text_document_dc=937_*"]},
        "'en_web_*_text_document_dc=937_*' is a glob of counts, which are not compared",
        "end it before _text_document: a glob of shards, as 'en_web_*', or the names",
    ),
    "a cap of 0": ({"mixture": {"max_epochs": {"en": {"books": 0}}}}, "0 is no max_epochs", "from 1e-15 to 1e15"),
    "rates and a weighting": (
        {"mixture": {"weighting": {"ar": {"unimax": 4}}}},
        "language 'ar' has rates in",
        "keep one of the two",
    ),
    "two weightings": (
        {"mixture": {"weighting": {"ar": {"unimax": 4, "temperature": 2}}}},
        "has too many properties",
        "Either temperature or unimax",
    ),
    "a misspelt weighting": ({"mixture": {"weighting": {"ar": {"unimaxx": 4}}}}, "unknown key 'unimaxx'", "'unimax'"),
    "a misspelt key of the run": ({"mixture": {"max_epoch": 4}}, "unknown key 'max_epoch'", "write 'max_epochs'"),
    "caps that cannot be kept": (
        {"mixture": {"max_epochs": 1}},
        "language 'en' is to give 7,500 tokens; its shards have 6,000 within their most epochs, 1,500 too few",
        "multiply its most epochs by 1.25 or more, lower its probability from 0.75 to 0.6",
    ),
    "a language of crumbs": (
        {"mixture": {"min_probability": 0.3}},
        "every shard of language 'ar' is below min_probability 0.3",
        "lower it, or remove the language",
    ),
}


@pytest.mark.parametrize("case", FORGOTTEN)
def test_what_looks_forgotten_is_an_error(tmp_path: Path, case: str) -> None:
    choices, problem, action, _ = FORGOTTEN[case]
    result = compute(tmp_path, **choices)
    assert result.returncode == 2
    assert problem in result.stderr
    assert action in result.stderr.split("next:")[1]
    assert "or choose omissions: list" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", FORGOTTEN)
def test_or_a_listed_omission_with_its_tokens(tmp_path: Path, case: str) -> None:
    choices, problem, _, shards = FORGOTTEN[case]
    result = compute(tmp_path, "--omissions", "list", **choices)
    assert result.returncode == 0, result.stderr
    assert problem in result.stdout
    left_out = {entry["name"].split("_text")[0]: entry for entry in written(tmp_path)["left_out"]}
    assert {shard: left_out[shard]["tokens"] for shard in shards} == shards
    assert [left_out[shard]["reason"] for shard in shards] == [problem] * len(shards)
    assert bool(shards) != (problem in written(tmp_path)["unmatched_keys"])
    assert sum(probabilities(tmp_path).values()) == pytest.approx(1, abs=1e-12)


def test_the_run_may_say_that_omissions_are_listed(tmp_path: Path) -> None:
    choices = {"ratio": {"en": {"books": 1}, "ar": {"news": 1}}, "mixture": {"omissions": "list"}}
    assert compute(tmp_path, **choices).returncode == 0
    assert compute(tmp_path, "--omissions", "error", **choices).returncode == 2


def test_all_that_looks_forgotten_is_told_at_once(tmp_path: Path) -> None:
    ratio = {"en": {"boks": 1, "wbe": 1}, "ar": {"nwes": 1}}
    result = compute(tmp_path, ratio=ratio, excluded=["nothing"])
    for word in ("'books'", "'web'", "'news'", "en.boks", "en.wbe", "ar.nwes", "excluded 'nothing'"):
        assert word in result.stderr


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_whatever_is_said_of_omissions(tmp_path: Path, case: str) -> None:
    choices, problem, action = WRONG[case]
    result = compute(tmp_path, "--omissions", "list", **choices)
    assert result.returncode == 2, result.stdout
    assert problem in result.stderr
    assert action in result.stderr
    assert "next:" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tokens", ["0", "-5", "many"])
def test_a_total_is_a_number_of_tokens(tmp_path: Path, tokens: str) -> None:
    result = compute(tmp_path, "--total-tokens", tokens)
    assert result.returncode == 2
    assert f"argument --total-tokens: '{tokens}' is no whole number of at least 1" in result.stderr


@pytest.mark.parametrize("folder", ["/my data", "shards\t"])
def test_a_folder_with_white_space_is_refused(tmp_path: Path, folder: str) -> None:
    result = compute(tmp_path, "--bin-idx-path", folder)
    assert result.returncode == 2
    assert f"{folder!r} holds white space, at which Megatron-LM splits data_path.txt" in result.stderr
    assert "--bin-idx-path" in result.stderr and "or a link to theirs, without blanks" in result.stderr
    assert not (tmp_path / "out").exists()


def test_many_omissions_are_told_in_part(tmp_path: Path) -> None:
    result = compute(tmp_path, excluded=[f"nothing_{number:02d}" for number in range(23)])
    assert result.returncode == 2
    assert "excluded 'nothing_19' matches no shard\n         and 3 more\n" in result.stderr
    assert "nothing_20" not in result.stderr
    shown = compute(tmp_path, "--omissions", "list", excluded=[f"nothing_{number:02d}" for number in range(23)])
    assert shown.returncode == 0 and shown.stdout.count("unmatched: excluded 'nothing_") == 23


def test_a_run_config_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    compute(tmp_path, mixture={})
    run = tmp_path / "run.yaml"
    run.write_text(run.read_text() + "tokenizer: other\n")
    with pytest.raises(ConfigError, match="key 'tokenizer' stands there twice"):
        load_run(tmp_path)


def test_rate_0_and_empty_shards_are_left_out_and_listed(tmp_path: Path) -> None:
    result = compute(tmp_path, signature=[*SIGNATURE, EMPTY], ratio={"books": 0, "web": 1, "news": 1})
    assert result.returncode == 0, result.stderr
    assert [(entry["name"].split("_text")[0], entry["reason"]) for entry in written(tmp_path)["left_out"]] == [
        ("en_books_tales_split_0000", "rate 0"),
        ("en_books_tales_split_0001", "rate 0"),
        ("en_web_empty_split_0000", "holds no tokens"),
    ]
    table = (tmp_path / "out" / "mixture.csv").read_text()
    assert "en_web_empty_split_0000_text_document_dc=0_sc=0_tc=0,en,web,empty,0,0,,,,,,,holds no tokens\n" in table


def test_a_shard_that_does_not_fill_a_sequence_is_left_out_and_listed(tmp_path: Path) -> None:
    shorts = [f"en_web_short_split_000{n}_text_document_dc=1_sc=1_tc={n}.bin" for n in (20, 21)]
    result = compute(tmp_path, signature=[*SIGNATURE, *shorts], mixture={})
    assert result.returncode == 0, result.stderr
    assert "(20 tokens): holds 20 tokens, fewer than the 21 of one sequence" in result.stdout
    assert "en_web_short_split_00021" in probabilities(tmp_path)
    single = "en_web_short_split_0001_text_document_dc=1_sc=1_tc=1.bin"
    compute(tmp_path, signature=[*SIGNATURE, single])
    assert "en_web_short_split_0001" in probabilities(tmp_path), "a total of tokens knows no length of a sequence"


def test_a_mixture_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    from pretrain_llama.errors import DataError
    from pretrain_llama.mixture.mixture import Mixture

    (tmp_path / "probabilities.json").write_text(json.dumps({"probabilities": {}}))
    for path, problem in ((tmp_path, "no mixture of this version"), (tmp_path / "nothing.json", "no mixture\n")):
        with pytest.raises(DataError, match=problem):
            Mixture.read(path)


BOTH = [f"{shard}_split_0000_text_document_dc=5_sc=5_tc=500.bin" for shard in ("en_web_x", "fr_en_web", "fr_web_x")]


@pytest.mark.parametrize("place", ["ratio", "mixture"])
def test_numbers_below_a_key_are_a_languages_or_a_domains(tmp_path: Path, place: str) -> None:
    """{"en": {"web": 3}} would be the rate of all of en_web, and of fr_en_web."""
    ours = {"en": {"web": 3}, "web": 3}
    own = {"en": {"web": 3}, "fr": {"en": 3, "web": 3}}
    for numbers, is_clear in ((ours, False), (own, True)):
        choices = {"ratio": own, "mixture": {}} | {place: {"max_epochs": numbers} if place == "mixture" else numbers}
        run = RUN | {"training": RUN["training"] | {"iterations": 1}}
        result = compute(tmp_path, signature=BOTH, shares={"en": 1, "fr": 1}, run=run, **choices)
        assert (result.returncode == 0) == is_clear, result.stderr
        if not is_clear:
            assert "'en' is a language here, and a domain of 'fr'" in result.stderr
            assert "write those of fr below it, {'fr': {'en': …}}" in result.stderr
