"""The identity of a run: what must stay the same for a training to resume, by part.

    training    the hyperparameters, without the micro batch size; parallel sizes and operation may change
    tokenizer   its identity
    checkpoint  SHA-256 of conversion.json, which holds those of the source's files, without what follows from the
                parallel sizes
    mixture     probability by counted name
    trainer     of run.yaml, where it is not the default: trainings of earlier versions had no other
    data        by counted name, SHA-256 of the .idx, and BLAKE3 of the .bin as the receipt of its shard has it

All parts but the tokenizer's identity and the BLAKE3 are computed from the files, so that an edited file is an edited
run. The .bin files are too large to read at each start: verify_run.py --full does.
"""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pretrain_llama import stores
from pretrain_llama.checkpoints.architecture import PASSPORT
from pretrain_llama.errors import DataError, listed
from pretrain_llama.files import json_text, read_json, sha256
from pretrain_llama.names import PREFIX_SUFFIX, parse_counted
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.run.folder import mixture_path
from pretrain_llama.run.trainers import OWN
from pretrain_llama.settings import RunSettings, TrainingSettings

# Hyperparameters that change how the work is cut, but not what is learnt.
CUTTING_KEYS = ("micro_batch_size_sequences",)
# Hyperparameters of later versions, with what earlier ones did: a training that one of those began does not name them.
LATER_KEYS = {"reset_attention_mask": False, "stages": [], "first_new_id": None, "new_rows_rate": 1.0}
LATER_PARTS = {"trainer": OWN}  # the same for whole parts
# Of conversion.json: how the vocabulary is padded for a tensor parallel size, and the files that this makes.
LAYOUT_KEYS = ("padding", "files")
HASHED_AT_ONCE = 8  # .idx files


def identity(folder: Path, run: RunSettings, tokenizer: str, blake3: Mapping[str, str]) -> dict[str, Any]:
    """Return the identity of a run folder.

    Args:
        folder: with mixture/, data/ and checkpoint/.
        run: run.yaml, with defaults.
        tokenizer: its identity.
        blake3: of .bin files, by their path in the folder, where it is known.
    """
    mixture = read_json(mixture_path(folder))["probabilities"]
    return identity_of(mixture, folder / "data", folder / "checkpoint", run, tokenizer, blake3)


def identity_of(
    mixture: dict[str, float],
    data: Path,
    checkpoint: Path,
    run: RunSettings,
    tokenizer: str,
    blake3: Mapping[str, str],
) -> dict[str, Any]:
    """Return the identity of a run whose parts lie anywhere, as its folder will have it.

    Args:
        mixture: probability by counted name.
        data: folder of the .idx files.
        checkpoint: the converted one.
        run: run.yaml, with defaults.
        tokenizer: its identity.
        blake3: of .bin files, by their path in the run folder, where it is known.
    """
    with ThreadPoolExecutor(HASHED_AT_ONCE) as threads:
        hashes = list(threads.map(lambda name: sha256(data / f"{name}.idx"), mixture))
    return trainer_part(run) | {
        "training": hyperparameters(run["training"]),
        "tokenizer": tokenizer,
        "checkpoint": _checkpoint_identity(checkpoint / PASSPORT),
        "mixture": mixture,
        "data": {
            name: {"idx": found, "bin": blake3.get(f"data/{name}.bin")}
            for name, found in zip(mixture, hashes, strict=True)
        },
    }


def trainer_part(run: RunSettings) -> dict[str, Any]:
    """Return the part of an identity that names the trainer: none where it is the one that every version has."""
    return {"trainer": run["trainer"]} if run["trainer"] != LATER_PARTS["trainer"] else {}


def hyperparameters(training: TrainingSettings) -> dict[str, Any]:
    """Return the part of `training` in run.yaml that belongs to a run's identity."""
    named = {key: value for key, value in training.items() if key not in CUTTING_KEYS}
    return {key: value for key, value in named.items() if key not in LATER_KEYS or value != LATER_KEYS[key]}


def _checkpoint_identity(conversion: Path) -> str:
    what = {key: value for key, value in read_json(conversion).items() if key not in LAYOUT_KEYS}
    return hashlib.sha256(json_text(what).encode()).hexdigest()


def recorded_hashes(tokenized: str, names: Iterable[str]) -> dict[str, str]:
    """Return the BLAKE3 of each .bin that a receipt tells, by its path in the run folder.

    Args:
        tokenized: folder of the shards' receipts, or its location in a store.
        names: counted names.
    """
    names = list(names)
    with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
        hashes = threads.map(lambda name: _recorded_hash(tokenized, name), names)
    return {f"data/{name}.bin": found for name, found in zip(names, hashes, strict=True) if found}


def _recorded_hash(tokenized: str, name: str) -> str | None:
    try:
        return TokenizeReceipt.read(f"{tokenized}/{parse_counted(name).shard}{PREFIX_SUFFIX}.receipt.json").bin_blake3
    except DataError:  # shards of another origin, or joined from several
        return None


def changed_parts(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the parts in which two identities differ."""
    before, now = whole(before), whole(now)
    return [part for part in now if before.get(part) != now[part]]


def whole(of: dict[str, Any]) -> dict[str, Any]:
    """Return an identity with the parts that it leaves out since all earlier ones were alike in them."""
    return LATER_PARTS | of


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the differences of two identities, a line for each part."""
    before, now = whole(before), whole(now)
    lines = [f"    {part}: {_difference(before.get(part), now[part])}" for part in changed_parts(before, now)]
    if _is_same_name(before.get("tokenizer"), now.get("tokenizer")):
        lines.append("    one name of two tokenizers: another model, prepend_bos, append_eos or held_out_fraction")
    return "\n".join(lines)


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
        return listed([_change(key, before, now) for key in keys], "; ")
    return f"{before} -> {now}"


def _change(key: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what changed at a key: a hyperparameter, the probability of a shard, or its hashes."""
    if key not in now:
        return f"{key}: gone"
    of_shard = isinstance(now[key], dict)
    if key not in before:
        return f"{key}: new" + ("" if of_shard else f", {now[key]}")
    return f"{key}: other bytes" if of_shard else f"{key}: {before[key]} -> {now[key]}"


def _is_same_name(before: object, now: object) -> bool:
    return before != now and str(before).partition(".")[0] == str(now).partition(".")[0]
