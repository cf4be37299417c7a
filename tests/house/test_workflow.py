"""The workflow as its users meet it: what a dry-run announces, what a run makes, what a change rebuilds."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pretrain_llama.tokenization.indexed import IndexedReader
from project import Project, jsonl, run_script

AFTER_THE_MIXTURE = {
    "compute_probabilities": 1,
    "plot_mixture": 1,
    "check_mixture": 1,
    "check_change": 1,
    "write_run_folder": 1,
    "launch_training": 1,
    "export_checkpoint": 1,
    "sample_text": 1,
    "summarize_run": 1,
    "plot_training": 1,
}


def test_a_fresh_project_previews_every_job_down_to_the_training(project: Project) -> None:
    shards = 4
    assert project.pending() == {
        "copy_tokenizer": 1,
        "certify_tokenizer": 1,
        "merge_shard": shards,
        "tokenize_shard": shards,
        "sign_data": 1,
        "check_conservation": 1,
        "find_duplicates": 1,
        "plot_documents": 1,
        "join_held_out": 2,
        "check_held_out": 1,
        "convert_checkpoint": 1,
        "verify_checkpoint": 1,
        "export_tokenizer": 1,
        **AFTER_THE_MIXTURE,
    }
    assert not (project.folder / "results").exists(), "a dry-run writes nothing"


def test_a_run_accounts_for_every_document_and_learns(built: Project) -> None:
    run = built.folder / "results" / "runs" / "tiny"
    summary = json.loads((run / "summary.json").read_text())
    held_out, tokenized = summary["documents"]["held_out"], summary["documents"]["tokenized"]
    assert held_out > 0 and held_out + tokenized == 400
    assert summary["documents"] | {"held_out": 0, "tokenized": 0} == {
        "vendor_lines": 400,
        "held_out": 0,
        "blank": 0,
        "rejected": 0,
        "duplicates": 0,
        "withdrawn": 0,
        "tokenized": 0,
    }
    assert sum(row["documents"] for row in summary["corpora"]) == tokenized
    assert summary["iterations"] == 6
    assert summary["last_loss"] < summary["first_loss"]
    assert "A tale of" in (run / "sample.txt").read_text()
    frame = {"bos": {"id": 1, "token": "<s>"}, "eos": {"id": 2, "token": "</s>"}}
    assert json.loads((run / "manifest.json").read_text())["frame"] == frame, "as the receipts record it"
    assert list((run / "output" / "tensorboard").glob("events.*"))


def test_counted_names_carry_the_counts_of_the_index(built: Project) -> None:
    signature = json.loads(next(built.folder.glob("results/tokenized/*/data_signature.json")).read_text())
    for name in signature:
        assert (built.folder / "results" / "indexed" / name).stat().st_size > 0
    documents = sum(int(name.split("_dc=")[1].split("_")[0]) for name in signature)
    summary = json.loads((built.folder / "results" / "runs" / "tiny" / "summary.json").read_text())
    assert documents == summary["documents"]["tokenized"]


def test_nothing_new_means_nothing_to_do(built: Project) -> None:
    assert built.pending() == {}


def test_accepted_arguments_of_megatron_lm_reach_the_conversion_and_make_none_again(copy: Project) -> None:
    copy.config["conversion"] = {"accept_arguments": {"toy-llama": ["window_size", "my spec"]}}
    copy.save()
    assert copy.pending() == {}
    forced = ["--dry-run", "--printshellcmds", "--force", "results/checkpoints/toy-llama_tp=1_pp=1"]
    told = " ".join(copy.snakemake(*forced).stdout.split())
    assert "--padding-rows mean --accept-argument window_size --accept-argument 'my spec' --output" in told


def test_lost_metadata_and_touched_vendor_files_rebuild_nothing(copy: Project) -> None:
    shutil.rmtree(copy.folder / ".snakemake")
    os.utime(copy.folder / "vendor" / "en_books_tales" / "a.jsonl")
    assert copy.pending() == {}


@pytest.mark.parametrize("target", ["all", "data", "mixture"])
def test_lost_metadata_hides_no_new_vendor_file(copy: Project, target: str) -> None:
    shutil.rmtree(copy.folder / ".snakemake")
    copy.vendor("en_books_tales/b.jsonl", jsonl(["A later tale."]))
    pending = copy.pending(target)
    assert {rule: pending[rule] for rule in ("merge_shard", "tokenize_shard", "sign_data")} == {
        "merge_shard": 1,
        "tokenize_shard": 1,
        "sign_data": 1,
    }


def test_a_mixture_is_looked_at_and_checked_before_it_is_paid_for(copy: Project) -> None:
    copy.choose("data_ratio.json", {"books": 2, "news": 1})
    assert copy.pending("mixture") == {"compute_probabilities": 1, "plot_mixture": 1, "check_mixture": 1}


def test_a_moved_tokenizer_model_rebuilds_no_shard(copy: Project, tmp_path: Path) -> None:
    moved = shutil.copy(copy.config["tokenizers"]["toy"]["model"], tmp_path / "moved.model")
    copy.config["tokenizers"]["toy"]["model"] = str(moved)
    copy.save()
    assert "tokenize_shard" not in copy.pending()


def test_each_tokenizer_has_its_own_folder_and_signature(copy: Project, tmp_path: Path) -> None:
    copy.config["tokenizers"]["toy-bare"] = copy.config["tokenizers"]["toy"] | {"append_eos": False}
    copy.save()
    assert copy.pending() == {}, "the run takes the other one"
    expected = {
        "copy_tokenizer": 1,
        "certify_tokenizer": 1,
        "tokenize_shard": 4,
        "sign_data": 1,
        "check_conservation": 1,
        "find_duplicates": 1,
        "plot_documents": 1,
    }
    expected |= {"join_held_out": 2, "check_held_out": 1}
    assert copy.pending("data") == expected
    result = copy.snakemake("data")
    assert result.returncode == 0, result.stdout + result.stderr
    signatures = sorted(copy.folder.glob("results/tokenized/*/data_signature.json"))
    assert [path.parent.name.split(".")[0] for path in signatures] == ["toy-bare", "toy"]
    for path in signatures:
        assert {name.split("/")[0] for name in json.loads(path.read_text())} == {path.parent.name}


def test_a_run_that_mixes_two_tokenizers_is_refused(copy: Project) -> None:
    signed = next(copy.folder.glob("results/tokenized/*/data_signature.json"))
    names = json.loads(signed.read_text())
    signed.write_text(json.dumps([names[0].replace("toy.", "other."), *names[1:]]))
    mixture = copy.folder / "results" / "runs" / "tiny" / "mixture"
    choices = copy.folder / "config" / "runs" / "tiny"
    computed = run_script(
        "compute_probabilities.py",
        *("--signature", signed),
        *("--data-ratio", choices / "data_ratio.json"),
        *("--language-probability", choices / "lang_prob.json"),
        *("--exclude", choices / "exclude_iterator.json"),
        *("--total-tokens", 1000),
        *("--output-dir", mixture),
    )
    assert computed.returncode == 2
    assert f"shards of different tokenizers: other.{signed.parent.name[4:]}, {signed.parent.name}" in computed.stderr

    (other := copy.folder / "other.01234567").mkdir()
    shutil.copy(copy.config["tokenizers"]["toy"]["model"], other / "tokenizer.model")
    written = run_script(
        "write_run_folder.py",
        *("--run", choices),
        *("--indexed", copy.folder / "results" / "indexed" / signed.parent.name),
        *("--tokenizer", other / "tokenizer.model"),
        *("--checkpoint", copy.folder / "results" / "checkpoints" / "toy-llama_tp=1_pp=1"),
        *("--output", mixture.parent),
    )
    assert written.returncode == 2
    assert f"the mixture is of shards of tokenizer {signed.parent.name}, the run's tokenizer is other" in written.stderr


def test_a_changed_tokenizer_rebuilds_from_tokenization(copy: Project) -> None:
    copy.config["tokenizers"]["toy"]["append_eos"] = False
    copy.save()
    pending = copy.pending()
    assert pending["tokenize_shard"] == 4
    assert "merge_shard" not in pending


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exclude_iterator.json", {"exclude_iterator_name": ["en_books_tales_split_0000"]}),
        ("data_ratio.json", {"en": {"books": 3}, "ar": {"news": 1}}),
        ("lang_prob.json", {"en": 0.5, "ar": 0.5}),
    ],
)
def test_a_changed_choice_rebuilds_the_mixture_and_what_follows(copy: Project, name: str, value: dict) -> None:
    copy.choose(name, value)
    assert copy.pending() == AFTER_THE_MIXTURE


def test_a_new_vendor_file_rebuilds_only_what_it_must(copy: Project) -> None:
    shards = copy.folder / "results" / "shards"
    before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    copy.vendor("en_books_tales/b.jsonl", jsonl([f"A new tale, of {n} ships." for n in range(20)]))
    assert copy.pending() == {
        "merge_shard": 1,
        "tokenize_shard": 1,
        "sign_data": 1,
        "check_conservation": 1,
        "find_duplicates": 1,
        "plot_documents": 1,
        "join_held_out": 2,
        "check_held_out": 1,
        **AFTER_THE_MIXTURE,
    }

    result = copy.snakemake()
    assert result.returncode == 0, result.stdout + result.stdout
    after = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    assert {name: after[name] for name in before} == before, "a finished shard never changes"
    assert after.keys() - before.keys() == {f"en_books_tales_split_0003{end}" for end in (".jsonl", ".receipt.json")}
    run = copy.folder / "results" / "runs" / "tiny"
    assert json.loads((run / "summary.json").read_text())["documents"]["vendor_lines"] == 420
    assert (run / "output_before_change_1" / "log.jsonl").exists(), "on_change: restart keeps the earlier output"
    assert copy.pending() == {}


def test_a_corpus_that_is_started_over_replaces_its_tokens_whatever_their_number(copy: Project) -> None:
    source = copy.folder / "vendor" / "en_books_tales" / "a.jsonl"
    first, second, *others = source.read_bytes().splitlines(keepends=True)
    source.write_bytes(b"".join([second, first, *others]))  # the same counts
    (copy.folder / "results" / "plan" / "en_books_tales.json").unlink()
    for folder in ("shards", "tokenized"):
        for path in (copy.folder / "results" / folder).rglob("en_books_tales_*"):
            path.unlink()
    result = copy.snakemake("data")
    assert result.returncode == 0, result.stdout + result.stderr
    (tokenized,) = (copy.folder / "results" / "tokenized").rglob("en_books_tales_split_0000_text_document.bin")
    (indexed,) = (copy.folder / "results" / "indexed").rglob("en_books_tales_split_0000_text_document_dc=*.bin")
    assert indexed.read_bytes() == tokenized.read_bytes()
    assert copy.pending("data") == {}


def test_merged_text_may_be_deleted_once_every_tokenizer_has_read_it(copy: Project) -> None:
    merged = list(copy.folder.glob("results/shards/*.jsonl"))
    for path in merged:
        path.unlink()
    assert [copy.pending(target) for target in ("all", "data", "mixture")] == [{}, {}, {}]

    copy.vendor("en_books_tales/b.jsonl", jsonl(["A later tale."]))
    pending = copy.pending("data")
    assert (pending["merge_shard"], pending["tokenize_shard"]) == (1, 1)
    result = copy.snakemake("data")
    assert result.returncode == 0, result.stdout + result.stderr
    assert not any(path.exists() for path in merged) and copy.pending("data") == {}

    copy.config["tokenizers"]["toy-bare"] = copy.config["tokenizers"]["toy"] | {"append_eos": False}
    copy.save()
    pending = copy.pending("data")
    assert (pending["merge_shard"], pending["tokenize_shard"]) == (4, 5 + 4), "merged again, it is newer than the pairs"


def test_a_planned_file_that_changed_stops_with_its_name(copy: Project) -> None:
    copy.vendor("en_books_tales/a.jsonl", jsonl(["Another tale."]))
    result = copy.snakemake("--dry-run")
    assert result.returncode != 0
    assert "planned file vendor/en_books_tales/a.jsonl changed" in result.stdout
    assert "deliver new text as a new file" in result.stdout


def test_a_planned_file_that_vanished_stops_with_its_name(copy: Project) -> None:
    copy.vendor("en_books_tales/b.jsonl", jsonl(["Another tale."]))
    (copy.folder / "vendor" / "en_books_tales" / "a.jsonl").unlink()
    result = copy.snakemake("--dry-run")
    assert result.returncode != 0
    assert "planned file vendor/en_books_tales/a.jsonl vanished" in result.stdout


def test_what_is_held_out_becomes_a_validation_set_of_each_domain(built: Project) -> None:
    summary = json.loads((built.folder / "results" / "runs" / "tiny" / "summary.json").read_text())
    validation = built.folder / "results" / "runs" / "tiny" / "validation"
    assert sorted(path.name for path in validation.glob("*.idx")) == ["ar_news.idx", "en_books.idx"]
    pairs = [IndexedReader(path.with_suffix("")) for path in validation.glob("*.idx")]
    assert sum(pair.documents for pair in pairs) == summary["documents"]["held_out"]
    checked = next(built.folder.glob("results/validation/*/check_held_out.txt")).read_text()
    assert checked == f"4 pairs to train on hold none of the {summary['documents']['held_out']} documents held out\n"


def test_without_a_fraction_there_are_no_validation_sets(project: Project) -> None:
    project.config["held_out_fraction"] = 0
    project.save()
    assert not {"join_held_out", "check_held_out"} & project.pending().keys()
