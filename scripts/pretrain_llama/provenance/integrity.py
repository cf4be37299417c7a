"""Verify a run folder: its files against the manifest, and its probabilities against its sources.

The manifest has a hash of every small file, and the size of every large one. The probabilities are derived again from
the data signature and a person's choices, the identity from the files, so that a folder whose manifest was made to fit
a change is found out, too.
"""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from blake3 import blake3

from pretrain_llama.checklist import Failed, Passed, Report, Unknown
from pretrain_llama.checkpoints import passport, torch_dist
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.copying import hash_tensors
from pretrain_llama.checkpoints.torch_dist import TorchDistTensors
from pretrain_llama.configuration import load_run
from pretrain_llama.errors import PretrainError, listed
from pretrain_llama.files import read_json, sha256
from pretrain_llama.launch.megatron_lm import FILE
from pretrain_llama.launch.megatron_lm_check import parse
from pretrain_llama.mixture import choices, signature
from pretrain_llama.mixture.mixture import TrainingLength
from pretrain_llama.mixture.probabilities import compute
from pretrain_llama.names import parse_counted
from pretrain_llama.progress import Progress
from pretrain_llama.provenance.writing import SIGNATURE
from pretrain_llama.run.folder import mixture_path, read_manifest
from pretrain_llama.run.history import History
from pretrain_llama.run.identity import changed_parts, differences, identity, whole
from pretrain_llama.run.sizes import process_count, training_sequences
from pretrain_llama.run.trainers import why_not
from pretrain_llama.tokenization.indexed import IndexedReader

CHUNK_BYTES = 1 << 24
LOCK = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)", re.M)


def verify(folder: Path, full: bool, report: Report) -> None:
    """Check a run folder, and print a line for each check.

    Args:
        folder: of the run.
        full: read every shard, and compare its hash.
        report: takes the checks.

    Raises:
        OperatorError: it is not complete.
    """
    manifest = read_manifest(folder)
    report.check("files", lambda: _check_files(folder, manifest))
    report.check("sizes", lambda: _check_sizes(folder, manifest))
    report.check("counts of the shards", lambda: _check_counts(folder, manifest))
    report.check("checkpoint", lambda: _check_checkpoint(folder))
    if full:
        report.check("contents of the shards", lambda: _check_contents(folder, manifest))
        report.check("contents of the checkpoint", lambda: _check_weights(folder / "checkpoint"))
    report.check("probabilities", lambda: _check_probabilities(folder))
    report.check("identity", lambda: _check_identity(folder, manifest))
    if phases := History(folder / "output").phases():
        report.check("training", lambda: _check_training(phases[-1].identity, manifest))
    report.check("packages", lambda: _check_packages(folder, manifest))


def _check_files(folder: Path, manifest: dict[str, Any]) -> Passed:
    wrong = []
    for name, recorded in manifest["files"].items():
        path = folder / name
        if not path.exists():
            wrong.append(f"{name} is missing")
        elif sha256(path) != recorded:
            wrong.append(f"{name} was changed")
    _fail(wrong, "put back what was changed; or write the run folder again, if the change is meant")
    return Passed(f"{len(manifest['files']):,} have their hashes")


def _check_sizes(folder: Path, manifest: dict[str, Any]) -> Passed:
    wrong = []
    for name, recorded in manifest["sizes"].items():
        path = folder / name
        size = path.stat().st_size if path.exists() else None
        if size != recorded:
            wrong.append(f"{name}: {recorded:,} bytes -> {'missing' if size is None else f'{size:,}'}")
    _fail(wrong, "bring these files back")
    return Passed(f"{len(manifest['sizes']):,} large files have theirs")


def _check_counts(folder: Path, manifest: dict[str, Any]) -> Passed:
    names, wrong = list(manifest["identity"]["data"]), []
    for name in names:
        try:
            found = IndexedReader(folder / "data" / name).counts
        except PretrainError as error:
            wrong.append(f"{name}: {str(error).partition(chr(10))[0]}")
            continue
        if found != parse_counted(name).counts:
            wrong.append(f"{name}: holds {found}")
    there = {path.stem for path in (folder / "data").iterdir()}
    wrong += [f"{name}: is in data/, and not in the mixture" for name in sorted(there - set(names))]
    _fail(wrong, "bring these pairs back")
    return Passed(f"{len(names):,} pairs have those of their names")


def _check_checkpoint(folder: Path) -> Passed:
    try:
        passport.check(folder / "checkpoint")
    except (OSError, PretrainError) as error:
        raise Failed(str(error).partition("\n  where")[0], "bring the checkpoint back, or convert it again") from None
    return Passed("it is what its passport says")


def _check_weights(checkpoint: Path) -> Passed:
    tensors = TorchDistTensors(torch_dist.newest(checkpoint), read_architecture(checkpoint))
    recorded = passport.read(checkpoint)["tensors"]
    found = hash_tensors(tensors, "reading the checkpoint")
    wrong = [f"{name} was changed" for name in recorded if recorded[name]["blake3"] != found[name]]
    _fail(wrong, "bring the checkpoint back, or convert it again")
    return Passed(f"{len(found):,} tensors have the hashes of the passport")


def _check_contents(folder: Path, manifest: dict[str, Any]) -> Passed:
    recorded = manifest["blake3"]
    names = [f"data/{name}.bin" for name in manifest["identity"]["data"]]
    wrong = []
    with Progress(sum(manifest["sizes"][name] for name in names), "B", "reading the shards") as progress:
        for name in recorded:
            if (folder / name).exists() and _hash(folder / name, progress) != recorded[name]:
                wrong.append(f"{name} was changed")
    _fail(wrong, "bring these files back")
    if missing := set(names) - set(recorded):
        raise Unknown(
            f"{len(missing)} of {len(names)} shards have no recorded hash; the others are as they were",
            "write the run folder with --tokenized, from shards of this workflow",
        )
    return Passed(f"{len(names):,} shards have their hashes")


def _hash(path: Path, progress: Progress) -> str:
    hasher = blake3(max_threads=blake3.AUTO)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            progress.advance(len(chunk))
    return hasher.hexdigest()


def _check_probabilities(folder: Path) -> Passed:
    sources = folder / "sources"
    if not (sources / SIGNATURE).exists():
        raise Unknown("the folder has no data signature", "write the run folder with --tokenized")
    try:
        recorded = read_json(mixture_path(folder))["probabilities"]
        derived = derive_probabilities(folder)
    except (OSError, PretrainError) as error:
        raise Failed(f"they cannot be derived: {error}", "put back sources/ and mixture/") from None
    names = [name for name in recorded | derived if recorded.get(name) != derived.get(name)]
    wrong = [f"{name}: {recorded.get(name)} in mixture/ -> {derived.get(name)} from sources/" for name in names]
    _fail(wrong, "put back the rates, shares and exclude list of sources/, or compute the mixture again")
    return Passed(f"{len(derived):,} follow from the signature, the rates and the shares")


def derive_probabilities(folder: Path) -> dict[str, float]:
    """Return the probability of each shard, from the signature and the choices in a run folder's sources.

    Raises:
        ConfigError, DataError: they do not fit each other.
    """
    sources = folder / "sources"
    run = load_run(sources)
    ratio, languages, exclude = (choices.find(sources, name) for name in choices.FILES)
    chosen = choices.load(ratio, languages, exclude, sources / "run.yaml", run.get("mixture"))
    length = TrainingLength(training_sequences(run), run["training"]["sequence_length_tokens"])
    mixture = compute(signature.load(sources / SIGNATURE), chosen, length)
    return {str(shard.name): shard.probability for shard in mixture.shards}


def _check_identity(folder: Path, manifest: dict[str, Any]) -> Passed:
    recorded = manifest["identity"]
    try:
        derived = identity(folder, load_run(folder), recorded["tokenizer"], manifest["blake3"])
    except (OSError, PretrainError) as error:
        raise Failed(f"it cannot be derived: {error}", "put back the missing file") from None
    wrong = []
    derived = whole(derived)
    for part, before in whole(recorded).items():
        now = derived[part]
        if isinstance(before, dict):
            keys = [key for key in before | now if before.get(key) != now.get(key)]
            wrong += [f"{part}.{key}: {before.get(key)} -> {now.get(key)}" for key in keys]
        elif before != now:
            wrong.append(f"{part}: {before} -> {now}")
    _fail(wrong, "undo the change; a training would refuse it")
    return Passed("a training resumes under the same")


def _check_training(trained: dict[str, Any], manifest: dict[str, Any]) -> Passed:
    recorded = manifest["identity"]
    if changed_parts(trained, recorded):
        raise Failed(
            f"output/ was trained on something else than this folder has:\n{differences(trained, recorded)}\n   ",
            "go on with its training, where on_change of run.yaml allows; or write the folder again as it was",
        )
    return Passed("output/ was trained on what this folder has")


def _versions(lock: Path) -> dict[str, str]:
    """Return the versions that a lock file names, by package; none where there is no lock file."""
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    return {match["name"]: match["version"] for match in LOCK.finditer(text)}


def _check_packages(folder: Path, manifest: dict[str, Any]) -> Passed:
    """Compare what is installed with the lock, or with the image's, which differs where MLflow wants it.

    A package that only the image's lock names may be here for something else. What is not installed is only missed if
    the run was written with it.
    """
    own, image = (_versions(folder / part / "requirements.lock") for part in ("sources", "environment"))
    allowed = {name: {locked} | {image.get(name, locked)} for name, locked in own.items()}
    wrong, compared = [], 0
    for name, versions in allowed.items():
        try:
            found = version(name).partition("+")[0]  # +cpu, +cu130: a build of the same version
        except PackageNotFoundError:
            if name in manifest["versions"] and name != "snakemake":
                wrong.append(f"{name}: {' or '.join(versions)} -> not installed")
            continue
        compared += 1
        if found not in versions:
            wrong.append(f"{name}: {' or '.join(sorted(versions))} -> {found}")
    if platform.python_version_tuple()[:2] != tuple(manifest["versions"]["python"].split(".")[:2]):
        wrong.append(f"python: {manifest['versions']['python']} -> {platform.python_version()}")
    _fail(wrong, "pip install --requirement sources/requirements.lock, or use the image of environment/Dockerfile")
    return Passed(f"{compared:,} of the locks are installed, in its versions")


def check_megatron_lm(folder: Path, checkout: Path) -> Passed:
    """Check that Megatron-LM's own parser accepts the arguments of a run; checkout: of Megatron-LM."""
    run = load_run(folder)
    if reason := why_not(run, read_architecture(folder / "checkpoint")):
        raise Failed(reason, "train with the trainer here; see docs/megatron_lm.md")
    try:
        parsed = parse(folder / FILE, checkout, process_count(run))
    except PretrainError as error:
        raise Failed(str(error).partition("\n  where")[0], "see docs/megatron_lm.md") from None
    return Passed(f"it takes them: {len(parsed):,} values")


def _fail(wrong: list[str], action: str) -> None:
    if wrong:
        raise Failed("\n    " + listed(wrong, "\n    ") + "\n   ", action)
