"""The order of the training sequences: complete, the same however many are asked for, continued by a new phase."""

import shutil
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch
from megatron.core.datasets.utils import Split

from pairs import write_pair
from pretrain_llama.provenance.writing import write_run_folder
from pretrain_llama.run.evaluations import evaluated_sequences
from pretrain_llama.run.folder import open_run_folder
from pretrain_llama.training.data.blend import Blend, BlendPlan, blend_indices, build, remove_others, rounded_up
from pretrain_llama.training.data.sequences import IndexedSequences, build_indices
from pretrain_llama.training.data.training_data import TokenizerFacts, open_validation
from trainings import Training, start

LENGTH, SEED = 16, 7


def stream_positions(indices: tuple[np.ndarray, np.ndarray, np.ndarray], lengths: np.ndarray) -> np.ndarray:
    """Return where in the stream each drawn sequence begins, in the order in which they are drawn."""
    documents, starts, drawn = indices
    ends = np.concatenate([[0], np.cumsum(lengths[documents])])
    return (ends[starts[:, 0]] + starts[:, 1])[drawn]


@pytest.mark.parametrize(
    "lengths", [[5, 0, 30, 17, 8, 100, 3], [40], [3, 2], [1] * 150], ids=["uneven", "one", "tiny", "crumbs"]
)
def test_an_epoch_is_complete_and_nothing_depends_on_the_number_asked_for(lengths: list[int]) -> None:
    lengths = np.array(lengths, np.int32)
    tokens = int(lengths.sum())
    few, many = (build_indices(lengths, LENGTH, count, SEED) for count in (2, 400))
    for short, long in zip(few, many, strict=True):
        assert (short == long[: len(short)]).all()
    assert len(few[2]) < len(many[2])
    assert [len(starts) for _, starts, _ in (few, many)] == [len(few[2]) + 1, len(many[2]) + 1]

    positions = stream_positions(many, lengths)
    assert sorted(positions) == list(range(0, LENGTH * len(positions), LENGTH)), "every sequence of the stream, once"
    epochs = positions // tokens
    assert (np.diff(epochs) >= 0).all(), "one epoch after the other"
    if len(lengths) > 2:
        assert not (np.diff(positions[epochs == 0]) > 0).all(), "shuffled within"
    documents = many[0][: len(lengths)]
    assert sorted(documents) == list(range(len(lengths))), "an epoch has each document once"


def test_epochs_and_seeds_differ() -> None:
    lengths = np.full(50, 20, np.int32)
    documents = build_indices(lengths, LENGTH, 100, SEED)[0]
    assert documents[:50].tolist() != documents[50:100].tolist()
    assert documents[:50].tolist() != build_indices(lengths, LENGTH, 100, SEED + 1)[0][:50].tolist()


def test_the_blend_is_that_of_megatron_core(training: Training, tmp_path: Path) -> None:
    printed = training.copied(tmp_path / "run").run_in_process(compare_with_megatron_core)
    assert "the same 200 choices of 3 shards" in printed


def compare_with_megatron_core(folder: Path) -> None:
    """Build a blend with megatron-core's builder, and compare which shard each sequence is of."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    from pretrain_llama.run.folder import open_run_folder
    from pretrain_llama.training.processes import process_groups

    run = open_run_folder(folder)
    weights = [0.5, 0.3, 0.2]
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=32,
        tokenizer=TokenizerFacts(400, {}),
        blend_per_split=[([str(run.prefix(name)) for name in run.probabilities], weights), None, None],
        path_to_cache=str(folder / "megatron"),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
    )
    with process_groups(1, 1, "a test"):
        theirs, _, _ = BlendedMegatronDatasetBuilder(GPTDataset, [200, 0, 0], lambda: True, config).build()
    ours, _ = blend_indices(weights, 200)
    assert theirs.dataset_index[:200].tolist() == ours.tolist()
    print(f"the same {len(ours)} choices of {len(weights)} shards")


def test_a_longer_blend_begins_as_a_shorter_one() -> None:
    probabilities = np.random.RandomState(0).dirichlet(np.ones(20)).tolist()
    for short, long in zip(blend_indices(probabilities, 300), blend_indices(probabilities, 3000), strict=True):
        assert (short == long[:300]).all()


@pytest.fixture
def shards(tmp_path: Path) -> tuple[str, ...]:
    """Two shards in which token number n has the id n, and n + 1000."""
    for name, first in {"a": 0, "b": 1000}.items():
        ids = iter(range(first, first + 400))
        write_pair(tmp_path / name, [[next(ids) for _ in range(length)] for length in (13, 150, 1, 36, 200)])
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_a_sequence_knows_the_documents_of_its_tokens(shards: tuple[str, ...], tmp_path: Path) -> None:
    plan = BlendPlan(shards, (0.5, 0.5), (0, 0), 120, LENGTH, SEED, ("x", "y"))
    config = dataset_config_of(plan)
    config.reset_attention_mask = True
    build(plan, tmp_path)
    blend, begins, between = Blend(plan, config, tmp_path), {0, 13, 163, 164, 200, 1000, 1013, 1163, 1164, 1200}, 0
    for item in map(blend.__getitem__, range(len(blend))):
        tokens, documents = item["tokens"].tolist(), item["documents"].tolist()
        assert len(documents) == LENGTH and documents[0] == 0
        assert np.diff(documents).tolist() == [int(token in begins) for token in tokens[1:]]
        between += documents[-1]
    assert between > 10, "in more than two epochs of both shards"
    padded = blend.shards[0][None]
    assert padded["loss_mask"].sum() == 0 and len(padded["documents"]) == LENGTH, "fills a micro batch"


def test_what_fills_up_a_sequence_is_a_document_of_its_own(shards: tuple[str, ...]) -> None:
    config = dataset_config_of(BlendPlan(shards, (0.5, 0.5), (0, 0), 1, LENGTH, SEED, ("x", "y")))
    config.reset_attention_mask = True
    documents, starts = np.array([0, 2], np.int32), np.array([[0, 0], [1, 0]], np.int32)  # of 13 tokens, and of one
    sequence = IndexedSequences(shards[0], config, (documents, starts, np.array([0], np.uint32)), Split.valid)[0]
    assert sequence["tokens"].tolist() == [*range(13), 163, 0, 0]
    assert sequence["documents"].tolist() == [0] * 13 + [1, 2, 2]
    assert sequence["loss_mask"].tolist() == [1.0] * 13 + [0.0] * 3


def test_a_validation_set_predicts_each_token_from_those_before_it(training: Training, tmp_path: Path) -> None:
    """Whatever documents it has, empty ones, too; what is left out has nothing to predict."""
    copy = training.copied(tmp_path / "run", training={"sequence_length_tokens": 4})
    wanted = {}
    for lengths in (lengths for documents in range(5) for lengths in product((0, 1, 2, 5), repeat=documents)):
        ids = iter(range(10, 100))
        documents = [[next(ids) for _ in range(length)] for length in lengths]
        name = f"en_set-{'-'.join(map(str, lengths))}"
        write_pair(copy.folder / "validation" / name, documents)
        wanted[name] = list(pairwise(token for document in documents for token in document))
    sets = open_validation(open_run_folder(copy.folder))
    expected = {name: len(sequences) for name, sequences in sets.items()}
    assert evaluated_sequences(copy.folder / "validation", open_run_folder(copy.folder).run) == expected
    assert wanted.keys() - sets.keys() == {name for name, pairs in wanted.items() if not pairs}
    for name in wanted.keys() & sets.keys():
        items = [sets[name][number] for number in range(len(sets[name]))]
        columns = (torch.cat([item[key] for item in items]).tolist() for key in ("tokens", "labels", "loss_mask"))
        assert [(token, label) for token, label, mask in zip(*columns, strict=True) if mask] == wanted[name], name


def test_a_run_folder_has_the_validation_sets_that_have_something_to_predict(
    training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources, folder = training.folder.with_name("sources"), tmp_path / "run"
    for name, documents in {"en_two": [[1, 2]], "en_one": [[], [1]], "en_none": []}.items():
        write_pair(tmp_path / "validation" / name, documents)
    shutil.copytree(training.folder / "mixture", folder / "mixture")
    parts = sources / "run", sources / "indexed", tmp_path / "validation"
    write_run_folder(*parts, *sources.glob("toy.*/tokenizer.model"), sources / "checkpoint", [], folder)
    assert sorted(path.name for path in (folder / "validation").iterdir()) == ["en_two.bin", "en_two.idx"]
    told = "is left out: of fewer than two tokens, there is none to predict"
    assert [f"validation set {name} {told}" for name in ("en_none", "en_one")] == capsys.readouterr().out.splitlines()


def drawn_tokens(plan: BlendPlan, cache: Path) -> list[int]:
    """Return the tokens of a blend's sequences, one after the other."""
    build(plan, cache)
    blend = Blend(plan, dataset_config_of(plan), cache)
    return [token for index in range(len(blend)) for token in blend[index]["tokens"].tolist()]


def dataset_config_of(plan: BlendPlan):
    from megatron.core.datasets.gpt_dataset import GPTDatasetConfig

    return GPTDatasetConfig(
        random_seed=plan.seed,
        sequence_length=plan.sequence_length,
        tokenizer=TokenizerFacts(2000, {}),
        blend=(list(plan.prefixes), list(plan.probabilities)),
        split="1",
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )


def test_a_new_phase_repeats_nothing_and_leaves_nothing_out(shards: tuple[str, ...], tmp_path: Path) -> None:
    """Ten sequences of 16 tokens at 50:50, then another mixture to the end of an epoch of both shards."""
    first = BlendPlan(shards, (0.5, 0.5), (0, 0), 10, LENGTH, SEED, ("x", "y"))
    then = BlendPlan(shards, (0.5, 0.5), (5, 5), 40, LENGTH, SEED, ("x", "y"))
    skewed = BlendPlan(shards, (0.8, 0.2), (5, 5), 25, LENGTH, SEED, ("x", "y"))
    before = drawn_tokens(first, tmp_path)
    together = before + drawn_tokens(then, tmp_path)
    epoch = set(range(400)) | set(range(1000, 1400))
    assert set(together) == epoch
    assert len(together) == 50 * LENGTH and len(set(together)) == 800, "25 sequences of 16 are an epoch of 400"
    with_skew = drawn_tokens(skewed, tmp_path)
    assert not set(before) & set(with_skew[: 16 * LENGTH]), "another mixture goes on where each shard stood"


def test_a_cache_is_whole_or_not_there(shards: tuple[str, ...], tmp_path: Path) -> None:
    plan = BlendPlan(shards, (0.5, 0.5), (0, 0), 10, LENGTH, SEED, ("x", "y"))
    assert plan.key != BlendPlan(shards, (0.5, 0.5), (0, 0), 10, LENGTH, SEED, ("x", "z")).key, "other contents"
    first = drawn_tokens(plan, tmp_path / "cache")
    (left,) = (tmp_path / "cache").iterdir()
    assert left.name == plan.key
    times = {path.name: path.stat().st_mtime_ns for path in left.iterdir()}
    assert drawn_tokens(plan, tmp_path / "cache") == first
    assert {path.name: path.stat().st_mtime_ns for path in left.iterdir()} == times, "built once"
    (tmp_path / "cache" / f".{plan.key}.parts" / "elsewhere.1").mkdir(parents=True)
    (tmp_path / "cache" / "of another plan").mkdir()
    remove_others(plan, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == [left], "nothing of a killed build, or of what was before"


def test_a_length_has_room_for_rewinds() -> None:
    lengths = np.unique(np.geomspace(1, 1e9, 2000).astype(int)).tolist()
    assert all(1.06 * length < rounded_up(length) for length in lengths)
    assert all(rounded_up(length) <= 1.34 * length for length in lengths if length > 100)
    assert len({rounded_up(length) for length in range(1_000_000, 1_050_000)}) <= 2


def test_the_index_can_lie_on_each_node(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", operation={"data_cache": "node"}, parallel={"data": 2})
    (tmp_path / "node").mkdir()
    copy.train(TMPDIR=str(tmp_path / "node"))
    assert len(list((tmp_path / "node").glob("pretrain-llama-index-*/*/*"))) == 1
    assert not (copy.output / "index_cache").exists()
    assert copy.losses() == pytest.approx(training.losses(), abs=1e-6)


def open_many_shards(folder: Path, allowed: int) -> None:
    """Open 60 shards where so many files are allowed; print how many each takes."""
    import resource

    from pretrain_llama.files import allow_open_files

    count = 60
    prefixes = tuple(str(folder / f"shard_{number}") for number in range(count))
    for prefix in prefixes:
        write_pair(Path(prefix), [[1] * 100])
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, allowed))
    allow_open_files(count)
    plan = BlendPlan(prefixes, (1 / count,) * count, (0,) * count, 600, LENGTH, SEED, ("",) * count)
    before = len(list(Path("/proc/self/fd").iterdir()))
    build(plan, folder / "cache")
    blend = Blend(plan, dataset_config_of(plan), folder / "cache")
    assert len(blend[599]["tokens"]) == LENGTH
    print((len(list(Path("/proc/self/fd").iterdir())) - before) / count)


def test_many_shards_open_three_files_each(tmp_path: Path) -> None:
    code, printed = start(open_many_shards, tmp_path, 500, outputs=tmp_path / "enough").wait()
    assert code == 0 and float(printed.split()[-1]) <= 3.2, printed
    code, printed = start(open_many_shards, tmp_path, 200, outputs=tmp_path / "few").wait()
    assert code == 2 and "60 shards and validation sets need 436 open files, 200 are allowed" in printed, printed
