"""What is called back is gone, every byte of it; the record says so, and the workflow goes on without it."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import find_documents
import withdraw
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, DataError, OperatorError
from pretrain_llama.files import link_or_copy, write_json
from pretrain_llama.mixture.signature import sign, signed_name
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.report.conservation import conserve
from pretrain_llama.run.checkpoint_files import FACTS
from pretrain_llama.shards import merge, plan
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.frame import Frame, FrameToken
from pretrain_llama.tokenization.quarantine import RejectionLimits
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.tokenize import tokenize
from pretrain_llama.tokenization.withdrawn import check_no_withdrawal, read_record, withdrawn_keys
from pretrain_llama.withdrawal.carrying_out import check_alone
from pretrain_llama.withdrawal.scope import of_documents, of_files
from project import deliver, jsonl, run_script

TOKENIZER = "toy.01234567"
TALES = {name: [f"A tale of {name} and {number} ships." for number in range(25)] for name in "abc"}
SECRET = TALES["b"][7]


class Made:
    """A project whose shards are made, and trained on by a run, without Snakemake: a.jsonl, b.jsonl and c.jsonl."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.results, self.reference = folder, folder / "results", load_reference(model)
        self.tokenized = self.results / "tokenized" / TOKENIZER
        for name, texts in TALES.items():
            deliver(folder / "vendor" / f"{name}.jsonl", jsonl(texts))
        (folder / "config").mkdir()
        table = "language\tdomain\tsubdomain\tsource\ttext_key\nen\tbooks\ttales\tvendor/*\ttext\n"
        (folder / "config/corpora.tsv").write_text(table)
        config = {"corpora": "config/corpora.tsv", "shard_size_bytes": 2_000, "runs": []}
        config |= {"tokenizers": {"toy": {"model": "m"}}, "checkpoints": {"t": "t"}}
        write_json(folder / "config/config.yaml", config)
        self.corpus = Corpus("en", "books", "tales", "vendor/*", "text", "config/corpora.tsv:2")
        (self.results / "tokenizers" / TOKENIZER).mkdir(parents=True)
        shutil.copy(model, self.results / "tokenizers" / TOKENIZER / "tokenizer.model")
        self.plan = self.results / "plan" / "en_books_tales.json"
        plan.record(self.plan, plan.plan_corpus(self.corpus, plan.empty(self.corpus), 2_000))
        self.shards = plan.shard_names(plan.load(self.plan, self.corpus))
        run = self.results / "runs" / "tiny"
        names = [self.make(shard) for shard in self.shards]
        for name in names:
            for end in (".bin", ".idx"):
                link_or_copy(self.tokenized / f"{name.partition('_dc=')[0]}{end}", run / "data" / f"{name}{end}")
        write_json(run / "manifest.json", {})
        write_json(run / "mixture" / "probabilities.json", {"probabilities": dict.fromkeys(names, 1 / len(names))})
        facts = dict.fromkeys(FACTS, 0) | {"drawn": dict.fromkeys(names, 5)}
        write_json(run / "output" / "checkpoints" / "iter_0000002" / "manifest.json", facts)
        (run / "export" / "final").mkdir(parents=True)
        write_json(self.tokenized / "duplicates.json", {"largest": [SECRET]})

    def make(self, shard: str) -> str:
        """Merge, tokenize and name a shard; return its counted name."""
        jsonl_path = self.results / "shards" / f"{shard}.jsonl"
        merged = merge.merge(plan.load(self.plan, self.corpus), shard, jsonl_path)
        merged.write(jsonl_path.with_suffix(".receipt.json"))
        receipt = TokenizeReceipt(shard, "", TOKENIZER, True, True, 400, "uint16")
        frame, limits = Frame(FrameToken(1, "<s>"), FrameToken(2, "</s>"), 400), RejectionLimits(1.0, 9)
        prefix = self.tokenized / f"{shard}_text_document"
        gone = withdrawn_keys(self.results / "withdrawals.jsonl", TOKENIZER)
        how = "text", 2_000, limits, 0.2, prefix
        tokenize(self.reference, frame, receipt, merged, jsonl_path, *how, withdrawn=gone)
        receipt.write(f"{prefix}.receipt.json")
        name = signed_name(receipt).partition("/")[2].removesuffix(".bin")
        for end in (".bin", ".idx"):
            link_or_copy(f"{prefix}{end}", self.results / "indexed" / TOKENIZER / f"{name}{end}")
        return name

    def ids(self, text: str) -> bytes:
        """The tokens of a text as they lie in a .bin."""
        return self.reference.encode(Texts.of([text.encode()]))[0].astype(np.uint16).tobytes()

    def holding(self, text: str) -> list[Path]:
        """The files in results/ that hold a text, or its tokens."""
        needles = text.encode(), self.ids(text)
        files = (path for path in self.results.rglob("*") if path.is_file())
        return [path for path in files if any(needle in path.read_bytes() for needle in needles)]

    def conserved(self) -> dict:
        """What check_conservation says of what is left."""
        shards = plan.shard_names(plan.load(self.plan, self.corpus))
        receipts = [TokenizeReceipt.read(self.tokenized / f"{shard}_text_document.receipt.json") for shard in shards]
        write_json(self.tokenized / "data_signature.json", sign(receipts, ""))
        places = str(self.results / "shards"), str(self.tokenized), str(self.tokenized / "data_signature.json")
        return conserve([str(self.plan)], *places)["total"]


@pytest.fixture
def made(tmp_path: Path, tokenizer_model: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.chdir(tmp_path)
    return Made(tmp_path, tokenizer_model)


def run(monkeypatch: pytest.MonkeyPatch, program: ModuleType, *args: str) -> None:
    """Run a program in this process."""
    monkeypatch.setattr(sys, "argv", [program.__name__, *args])
    program.main()


def look_up(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *how: str) -> dict:
    run(monkeypatch, find_documents, *how)
    found = capsys.readouterr().out
    (made.folder / "found.jsonl").write_text(found)
    return json.loads(found)


ASKED = "--why", "a person asked", "--who", "me", "--documents", "found.jsonl"


@pytest.mark.parametrize("lives", [None, 0, 1, 4])
def test_a_document_is_gone_to_the_last_byte_whatever_dies_meanwhile(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lives: int | None
) -> None:
    found = look_up(made, monkeypatch, capsys, "--field", "text", "--pattern", "of b and 7 ships")
    assert (found["file"], found["line"]) == ("vendor/b.jsonl", 8)
    assert found == look_up(made, monkeypatch, capsys, "--lines", "vendor/b.jsonl:8")
    assert found == look_up(made, monkeypatch, capsys, "--keys", found["keys"][TOKENIZER])
    before = made.holding(SECRET)
    assert {path.suffix for path in before} == {".jsonl", ".bin", ".json"}
    run(monkeypatch, withdraw, *ASKED)
    told = capsys.readouterr().out
    assert "1 documents" in told and "iter_0000002" in told and "export/final" in told and "nothing is changed" in told
    assert made.holding(SECRET) == before
    if lives is not None:
        left, unlink = [lives], Path.unlink

        def die(path: Path, missing_ok: bool = False) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= not path.name.endswith(".parts")
            unlink(path, missing_ok)

        with monkeypatch.context() as dying:
            dying.setattr(Path, "unlink", die)
            with pytest.raises(KeyboardInterrupt):
                run(monkeypatch, withdraw, *ASKED, "--yes")
    run(monkeypatch, withdraw, *ASKED, "--yes")
    assert made.holding(SECRET) == []
    (entry,) = read_record(made.results / "withdrawals.jsonl")
    assert (entry["who"], entry["why"], entry["documents"]) == ("me", "a person asked", 1)
    assert not (made.results / "withdrawing.json").exists() and not (made.results / ".withdrawing").exists()
    assert not (made.results / "runs/tiny/manifest.json").exists(), "the run folder is written again"
    sums = made.conserved()
    assert (sums["lines"], sums["withdrawn"]) == (75, 1)
    assert sums["documents"] + sums["held_out_documents"] == 74
    with pytest.raises(ConfigError, match="no document of any shard has one of these keys"):
        run(monkeypatch, withdraw, *ASKED)
    for shard in made.shards:  # of the vendor's file, which still has it
        made.make(shard)
    assert {path.suffix for path in made.holding(SECRET)} == {".jsonl"}, "it is never tokenized again"
    assert made.conserved()["withdrawn"] == 1


def test_a_file_goes_with_its_shards_and_what_else_was_in_them_is_planned_anew(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, withdraw, "--why", "called back", "--files", "vendor/b.jsonl", "--yes")
    assert [path for text in TALES["b"] for path in made.holding(text)] == []
    planned = plan.load(made.plan, made.corpus)
    assert set(planned["files"]) == {"vendor/a.jsonl", "vendor/c.jsonl"}
    assert planned["history"][0]["why"] == "withdrawn" and planned["history"][0]["files"].keys() == {"vendor/b.jsonl"}
    assert plan.plan_corpus(made.corpus, planned, 2_000) == planned, "it still lies there, and is not planned again"
    for shard in plan.shard_names(planned):
        if not (made.results / f"shards/{shard}.receipt.json").exists():
            made.make(shard)
    sums = made.conserved()
    assert (sums["lines"], sums["documents"] + sums["held_out_documents"]) == (50, 50)
    with pytest.raises(ConfigError, match=r"no plan holds 'vendor/b.jsonl'"):
        run(monkeypatch, withdraw, "--why", "again", "--files", "vendor/b.jsonl")


def test_a_corpus_goes_as_a_whole(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, withdraw, "--why", "the licence ended", "--corpus", "en_books_tales", "--yes")
    assert [path for texts in TALES.values() for text in texts for path in made.holding(text)] == []
    with pytest.raises(DataError, match="the corpus en_books_tales was withdrawn"):
        plan.plan_corpus(made.corpus, plan.load(made.plan, made.corpus), 2_000)
    assert read_record(made.results / "withdrawals.jsonl")[0]["corpora"] == ["en_books_tales"]


def test_what_find_documents_did_not_print_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, problem in (("{}", "no line of find_documents"), ('{"keys": {}}', "without a key of each tokenizer")):
        (made.folder / "found.jsonl").write_text(content + "\n")
        with pytest.raises(ConfigError, match=problem):
            run(monkeypatch, withdraw, *ASKED)
    with pytest.raises(ConfigError, match="no document was found"):
        run(monkeypatch, find_documents, "--field", "url", "--pattern", "x")


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no document of any shard"):
        of_documents(tmp_path, {})
    write_json(tmp_path / "plan/en_books_tales.json", {"files": {}})
    with pytest.raises(ConfigError, match="no planned file 'a'"):
        of_files(tmp_path, {"en_books_tales": ["a"]})


def test_nothing_else_begins_while_a_withdrawal_is_interrupted(tmp_path: Path) -> None:
    check_no_withdrawal(str(tmp_path))
    journal = {"when": "2026-12-01", "who": "me", "why": "called back", "asked": {}}
    write_json(tmp_path / "results/withdrawing.json", journal)
    with pytest.raises(OperatorError, match="a withdrawal was interrupted, begun 2026-12-01 by me: called back"):
        check_no_withdrawal(str(tmp_path / "results"))
    other = run_script("withdraw.py", "--why", "x", "--keys", "0" * 32, cwd=tmp_path)
    assert other.returncode == 2 and "another withdrawal was interrupted" in other.stderr
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    with pytest.raises(OperatorError, match="Snakemake works here, or was killed"):
        check_alone(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "withdrawals.jsonl").write_text("{")
    with pytest.raises(DataError, match="no record of withdrawals"):
        read_record(tmp_path / "withdrawals.jsonl")
