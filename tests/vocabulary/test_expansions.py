"""Expansions in the workflow: all that follows from a larger vocabulary is planned, and made by itself."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from sentencepiece import SentencePieceProcessor

from llamas import change_config
from pretrain_llama.checkpoints import passport
from pretrain_llama.configuration import validate
from pretrain_llama.errors import PretrainError
from pretrain_llama.shards import plan
from pretrain_llama.tokenization.tokenizer import Tokenizer
from pretrain_llama.vocabulary import expansion
from project import ROOT, Project, jsonl, run_script
from screens import check_screen

VENDOR = ROOT / "resources" / "demo" / "vendor"
NEW = 150
FRAME = {"prepend_bos": False, "eos_token": "<s>"}  # not what the model itself calls its EOS
EXPANSION = {"tokenizer": "toy", "languages": ["ar"], "new_pieces": NEW, "unchanged_languages": ["en"]}


def arabic_texts() -> list[str]:
    return [json.loads(line)["text"] for line in (VENDOR / "ar_interface" / "pretix.jsonl").open()][:20]


@pytest.fixture(scope="module")
def expanding(tmp_path_factory: pytest.TempPathFactory, tokenizer_model: Path, llama: Path) -> Project:
    """A project on the demo's Arabic and manual, whose run takes an expanded tokenizer; its data and model are made."""
    project = Project(tmp_path_factory.mktemp("expanding"), tokenizer_model, llama)
    for name in ("ar_interface/pretix.jsonl", "ar_translated/wagtail.jsonl", "en_reference/manual.jsonl"):
        project.vendor(name, (VENDOR / name).read_bytes())
    quoting = [f"The manual says, in Arabic: {text}" for text in arabic_texts()]  # behind what the first shard holds
    project.vendor("en_reference/quotes.jsonl", jsonl(quoting))
    project.corpora(
        ["ar", "interface", "pretix", "vendor/ar_interface/*", "text"],
        ["ar", "translated", "wagtail", "vendor/ar_translated/*", "text"],
        ["en", "reference", "manual", "vendor/en_reference/*", "text"],
    )
    project.choose("data_ratio.json", {"ar": {"interface": 1, "translated": 1}, "en": {"reference": 1}})
    project.config |= {"shard_size_bytes": 250_000, "expansions": {"toy-ar": EXPANSION}, "held_out_fraction": 0}
    project.run["tokenizer"] = "toy-ar"
    project.config["tokenizers"]["toy"] |= FRAME
    project.save()
    return project


def test_a_dry_run_shows_all_that_an_expansion_brings(expanding: Project) -> None:
    pending = expanding.pending()
    assert not (expanding.folder / "results").exists()
    shards = pending["merge_shard"]
    assert shards > 3
    assert {rule: pending[rule] for rule in ("copy_tokenizer", "expand_vocabulary", "expand_checkpoint")} == {
        "copy_tokenizer": 1,
        "expand_vocabulary": 1,
        "expand_checkpoint": 1,
    }
    assert pending["tokenize_shard"] == shards, "with the expanded one alone, which the run names"
    assert pending["plot_fertility"] == pending["convert_checkpoint"] == pending["verify_checkpoint"] == 1
    assert expanding.pending("data")["tokenize_shard"] == 2 * shards, "with both"


@pytest.fixture(scope="module")
def expanded(expanding: Project) -> Project:
    """The project with its run's documents counted, and its checkpoint expanded, converted and verified."""
    identity = identity_of(expanding)
    verified = f"results/checkpoints/toy-llama.{identity}_tp=1_pp=1.verification.json"
    counted = f"results/tokenized/{identity}/documents.html"
    result = expanding.snakemake(verified, counted, f"results/expansions/{identity}/fertility.png")
    assert result.returncode == 0, result.stdout + result.stderr
    return expanding


def identity_of(project: Project) -> str:
    """The identity of its expansion, as recorded, or from the paths that a dry-run shows."""
    record = project.folder / "results" / "expansions" / "toy-ar.json"
    if record.exists():
        return json.loads(record.read_text())["identity"]
    shown = project.snakemake("--dry-run", "--verbose").stdout
    return "toy-ar." + shown.partition("expansions/toy-ar.")[2][:8]


def test_fertility_falls_where_it_should_and_nowhere_else(expanded: Project) -> None:
    folder = expanded.folder / "results" / "expansions" / identity_of(expanded)
    found = json.loads((folder / "fertility.json").read_text())
    assert (found["vocab_size_before"], found["vocab_size_after"], found["never_used"]) == (400, 400 + NEW, [])
    domains = {(row["language"], row["domain"]): row for row in found["domains"]}
    assert domains.keys() == {("ar", "interface"), ("ar", "translated"), ("en", "reference")}
    for language, described in found["languages"].items():
        fell = described["tokens_per_word_after"] < 0.6 * described["tokens_per_word_before"]
        assert fell == (language == "ar")
        assert described["tokens_per_byte_after"] <= described["tokens_per_byte_before"]
    assert found["languages"]["en"]["unchanged"] >= 0.9 * found["languages"]["en"]["texts"]
    assert (folder / "fertility.csv").read_text().count("\n") == 4
    assert (folder / "fertility.png").stat().st_size > 10_000


def test_documents_with_new_pieces_are_counted_where_none_was_wanted(expanded: Project) -> None:
    """The pieces were chosen by a sample of the first shard; the documents of all shards are counted."""
    identity, results = identity_of(expanded), expanded.folder / "results"
    model = SentencePieceProcessor(model_file=str(results / "tokenizers" / identity / "tokenizer.model"))
    texts = [json.loads(line)["text"] for path in results.glob("shards/en_*.jsonl") for line in path.open()]
    used = sum(max(ids) >= 400 for ids in model.encode(texts))
    assert 0 < used < len(texts)
    receipts = {
        path.name: json.loads(path.read_text()) for path in results.glob(f"tokenized/{identity}/*.receipt.json")
    }
    counts = {name: receipt["with_new_pieces"] for name, receipt in receipts.items()}
    assert sum(count for name, count in counts.items() if name.startswith("en_")) == used
    assert {count for name, count in counts.items() if name.startswith("ar_")} == {None}, "nothing is promised of it"
    told = f"{used:,} of {len(texts):,} documents use new pieces"
    conserved = json.loads((results / "tokenized" / identity / "conservation.json").read_text())
    assert conserved["unchanged"] == {"en": {"documents": len(texts), "with_new_pieces": used}}
    log = results / "logs" / "check_conservation" / f"{identity}.log"
    assert f"unchanged language en: {told}\n" in log.read_text()
    assert f"en: {told}." in (results / "tokenized" / identity / "documents.html").read_text()
    status = run_script("show_status.py", cwd=expanded.folder)
    assert f"en_reference_manual was to stay unchanged: {told}\n" in status.stdout, status.stdout + status.stderr


def test_what_follows_takes_the_expanded_ones(expanded: Project) -> None:
    identity = identity_of(expanded)
    results = expanded.folder / "results"
    converted = passport.read(results / "checkpoints" / f"toy-llama.{identity}_tp=1_pp=1")
    assert converted["architecture"]["vocab_size"] == 400 + NEW
    assert converted["padding"]["padded_vocab_size"] == 640
    assert converted["verification"]["tensors"] > 0
    receipt = json.loads(next((results / "tokenized" / identity).glob("ar*.receipt.json")).read_text())
    assert receipt["vocab_size"] == 400 + NEW
    assert receipt["engine"].startswith("gigatoken"), "the fast engine gives the same ids"
    assert receipt["warning"] is None
    assert receipt["frame"] == {"bos": None, "eos": {"id": 1, "token": "<s>"}}, "as the base frames documents"
    made = {"expand_vocabulary", "expand_checkpoint", "merge_shard", "tokenize_shard", "convert_checkpoint"}
    assert not made & expanded.pending().keys()


def test_later_text_changes_no_vocabulary_but_another_size_does(expanded: Project, tmp_path: Path) -> None:
    project = expanded.copied_to(tmp_path / "copy")
    project.vendor("ar_interface/later.jsonl", jsonl([f"نص جديد {number}" for number in range(50)]))
    pending = project.pending()
    assert (pending["merge_shard"], pending["tokenize_shard"]) == (1, 1)
    assert not {"expand_vocabulary", "expand_checkpoint", "convert_checkpoint"} & pending.keys()

    project.config["expansions"]["toy-ar"] = EXPANSION | {"new_pieces": NEW + 1}
    project.save()
    pending = project.pending()
    assert pending["expand_vocabulary"] == pending["expand_checkpoint"] == 1
    assert pending["tokenize_shard"] > 3, "everything is tokenized anew"
    assert pending["merge_shard"] == 1


def test_a_corpus_that_an_expansion_was_made_from_stays_in_the_table(expanded: Project, tmp_path: Path) -> None:
    project = expanded.copied_to(tmp_path / "copy")
    table = project.folder / "config" / "corpora.tsv"
    rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join(row for row in rows if "translated" not in row))
    project.choose("data_ratio.json", {"ar": {"interface": 1}, "en": {"reference": 1}})
    gone = "the expansion 'toy-ar' was made from ar_translated_wagtail, of which the table of corpora has no row"
    check_screen(project.snakemake("--dry-run"), gone, "results/expansions/toy-ar.json", "put the row back")


def test_other_rows_change_the_checkpoint_alone(expanded: Project, tmp_path: Path) -> None:
    project = expanded.copied_to(tmp_path / "copy")
    project.config["expansions"]["toy-ar"] = EXPANSION | {"new_rows": "zero"}
    project.save()
    pending = project.pending()
    assert pending["expand_checkpoint"] == pending["convert_checkpoint"] == 1
    assert not {"expand_vocabulary", "tokenize_shard"} & pending.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pieces": "pieces.txt"}, "An expansion has either languages and new_pieces"),
        ({"languages": None, "new_pieces": None}, "An expansion has either languages and new_pieces"),
        ({"new_peices": 3}, "unknown key 'new_peices'"),
        ({"new_rows": "random"}, "'random' is not one of"),
    ],
)
def test_the_schema_of_expansions_is_closed(changes: dict[str, object], message: str) -> None:
    settings = {key: value for key, value in (EXPANSION | changes).items() if value is not None}
    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    with pytest.raises(PretrainError, match=message):
        validate(shipped | {"expansions": {"toy-ar": settings}}, "config", "config.yaml")


def test_a_checkpoint_of_another_vocabulary_stops_before_any_job(project: Project, llama: Path) -> None:
    (project.folder / "llama").mkdir()
    shutil.copy(llama / "config.json", project.folder / "llama")
    change_config(project.folder / "llama", vocab_size=401)
    project.config |= {"checkpoints": {"toy-llama": "llama"}, "expansions": {"toy-ar": EXPANSION}}
    project.run["tokenizer"] = "toy-ar"
    project.save()
    result = project.snakemake("--dry-run")
    assert result.returncode != 0
    assert "401 ids are embedded, the tokenizer that 'toy-ar' enlarges has 400" in result.stdout
    assert "Traceback" not in result.stdout


def test_an_expansion_frames_as_its_base_does(tokenizer_model: Path, tmp_path: Path) -> None:
    """Where that is what the model itself says, nothing is made anew."""
    records = {}
    for name, named in {"own": {}, "named": {"bos_token": "<s>", "eos_token": "</s>"}, "other": FRAME}.items():
        base = Tokenizer("toy", str(tokenizer_model), **named)
        base.__dict__["identity"] = "toy.01234567"  # which alone would tell them apart
        plans = {"ar_news_daily": {"corpus": "ar_news_daily", "files": {}, "shards": [{"ranges": []}]}}
        records[name] = expansion.plan_expansion("x", EXPANSION, base, plans, tmp_path / f"{name}.json")
        made = expansion.ExpandedTokenizer("x", base, records[name], "zero")
        assert (made.prepend_bos, made.append_eos) == (base.prepend_bos, base.append_eos)
        assert (made.bos_token, made.eos_token) == ((None, "<s>") if name == "other" else (None, None))
    assert records["own"] == records["named"]
    assert records["other"]["identity"] != records["own"]["identity"]
    assert records["other"]["frame"] == {"eos": "<s>"}


def test_what_no_schema_can_say_is_checked(tokenizer_model: Path, tmp_path: Path) -> None:
    tokenizers = {"toy": Tokenizer("toy", str(tokenizer_model))}
    corpora = [plan.Corpus("ar", "news", "daily", "vendor/*", "text", "corpora.tsv:2")]
    with pytest.raises(PretrainError, match=r"unknown tokenizer 'tow'.*\n.*\n.*: toy"):
        expansion.check("x", EXPANSION | {"tokenizer": "tow"}, tokenizers, corpora)
    with pytest.raises(PretrainError, match=r"'toy' is a tokenizer as well"):
        expansion.check("toy", EXPANSION, tokenizers, corpora)
    with pytest.raises(PretrainError, match=r"unknown language 'en'"):
        expansion.check("x", EXPANSION, tokenizers, corpora)
    with pytest.raises(PretrainError, match=r"new pieces are trained on ar, and may not be used in it"):
        expansion.check("x", EXPANSION | {"unchanged_languages": ["ar"]}, tokenizers, corpora)
    with pytest.raises(PretrainError, match=r"no list of pieces"):
        settings = {"tokenizer": "toy", "pieces": str(tmp_path / "pieces.txt")}
        expansion.plan_expansion("x", settings, tokenizers["toy"], {}, tmp_path / "x.json")


def test_two_runs_at_once_record_one_expansion(tmp_path: Path) -> None:
    path = tmp_path / "more.json"
    ours = {"base": "plain.1", "settings": {"new_pieces": 9}, "texts": {"a": []}, "identity": "more.1"}
    for record in (ours, ours, ours | {"settings": {"new_pieces": 8}, "identity": "more.2"}, ours):
        expansion.record(path, record)
    with pytest.raises(PretrainError, match=r"another run recorded the expansion more\.1"):
        expansion.record(path, ours | {"texts": {"b": []}, "identity": "more.3"})
    assert expansion.load(path) == ours
