"""The ids of an export's config.json and generation_config.json: those of the tokenizer of its run."""

from pathlib import Path

import pytest

from pretrain_llama.errors import PretrainError
from pretrain_llama.exports.token_ids import OTHER_KEYS, TokenIds, check_in_range
from pretrain_llama.tokenization.frame import FrameToken

PIECES = ["<unk>", "<s>", "</s>", "a", "b", "c", "<eot>", "<pad>"]
SPECIAL = {name: number for number, name in enumerate(PIECES) if name[0] == "<"}


def ids(theirs: list[str] | None = None, **tokens: int | None) -> TokenIds:
    """Ids of a tokenizer of PIECES; of the source's, every piece is the same if not given."""
    named = {"bos": 1, "eos": 2, "pad": None, "unk": 0} | tokens
    of_role = {role: None if number is None else FrameToken(number, PIECES[number]) for role, number in named.items()}
    known = PIECES if theirs is None else theirs
    return TokenIds(of_role, dict(enumerate(PIECES)), dict(enumerate(known)), SPECIAL)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (2, 2),
        (None, 2),
        (1, [2, 1]),
        (6, [2, 6]),  # another control token that ends a turn
        ([6, 2, 6], [2, 6]),
        ([2], 2),
        (3, 2),  # a piece of text: where it ends, nothing has to end
        ([3, 6, 9999, -1, None, "</s>", True, 6.0], [2, 6]),
        ("</s>", 2),
        ({"a": 1}, 2),
    ],
)
def test_the_end_of_the_training_ends_what_is_generated(theirs: object, ours: object) -> None:
    assert ids().replaced({"eos_token_id": theirs}, "config.json")[0]["eos_token_id"] == ours


def test_ids_stay_only_where_they_mean_the_same() -> None:
    config = {"bos_token_id": 3999, "eos_token_id": [2, 6], "pad_token_id": 7}
    other = [*PIECES[:6], "<turn>", "<pad>"]
    assert ids(other).replaced(config, "c")[0]["eos_token_id"] == 2
    unknown, changed = ids([]).replaced(config, "config.json")
    assert unknown == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    assert changed == [
        "config.json: bos_token_id: 3999 -> 1",
        "config.json: eos_token_id: [2, 6] -> 2",
        "config.json: pad_token_id: 7 -> None",
    ]
    assert ids(pad=7).replaced(config, "c")[0]["pad_token_id"] == 7
    nothing, _ = ids(bos=None, eos=None).replaced({}, "c")
    assert nothing == {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@pytest.mark.parametrize("key", OTHER_KEYS)
def test_other_keys_of_ids_are_left_out_where_one_is_another(key: str) -> None:
    for value, stays in [(3, True), ([3, 5], True), ([[3, 4], [5]], True), ([], True), (99, False), ([3, 99], False)]:
        replaced, changed = ids().replaced({key: value, "temperature": 0.6}, "generation_config.json")
        assert replaced.get(key) == (value if stays else None)
        assert (
            f"generation_config.json: {key}: left out, its ids are others in the run's tokenizer" in changed
        ) != stays
        assert replaced["temperature"] == 0.6
    assert key not in ids(["x"] * 8).replaced({key: [3]}, "c")[0]
    assert key not in ids().replaced({key: {"3": -1.5}}, "c")[0]


@pytest.mark.parametrize("key", ["bos_token_id", "eos_token_id", "pad_token_id"])
@pytest.mark.parametrize("value", [300, -1, "<pad>", True, 1.0, [1]])
def test_ids_of_no_known_tokenizer_are_at_least_ids(tmp_path: Path, key: str, value: object) -> None:
    for right in (None, 0, 299):
        check_in_range({key: right}, 300, tmp_path)
    if (key, value) == ("eos_token_id", [1]):
        check_in_range({key: value}, 300, tmp_path)
        value = [1, 300]
    with pytest.raises(PretrainError, match=rf"{key} .* is no id of a model of 300 rows"):
        check_in_range({key: value}, 300, tmp_path)
