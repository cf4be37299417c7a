"""Write a run folder (its layout: run_folder.py), with the identity that a training resumes under."""

import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from pretrain_llama import stores
from pretrain_llama.checkpoints import passport
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.configuration import load_run
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.exports.small_files import write_small_files
from pretrain_llama.exports.tokenizer_files import RECORD
from pretrain_llama.files import link_or_copy, link_or_copy_tree, read_json, sha256, write_json, write_text
from pretrain_llama.launch import start_files as launch_files
from pretrain_llama.launch.secrets import redact
from pretrain_llama.names import parse_counted
from pretrain_llama.provenance.begun import check_rewriting, standing_still
from pretrain_llama.provenance.recorded_frame import recorded_frame
from pretrain_llama.provenance.texts import Texts, chosen_files
from pretrain_llama.run.folder import SMALL_FILES, has_targets, mixture_path
from pretrain_llama.run.identity import identity, recorded_hashes
from pretrain_llama.settings import RunSettings

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("torch", "megatron-core", "transformers", "sentencepiece", "tokenizers", "gigatoken", "numpy", "snakemake")
WRITTEN_FOLDERS = ("data", "validation", "checkpoint", SMALL_FILES, "sources", "code", "environment")
BESIDE = ".parts"  # of a run folder, while its parts are built
UNHASHED_SUFFIXES = (".bin", ".distcp")
SIGNATURE, CONSERVATION, DIFF = "data_signature.json", "conservation.json", "git.diff"


def write_run_folder(
    run: Path,
    indexed: Path,
    validation: Path | None,
    tokenizer: Path,
    checkpoint: Path,
    sources: list[Path],
    output: Path,
    tokenized: str | None = None,
    plans: Sequence[str] = (),
    exported_tokenizer: Path | None = None,
) -> None:
    """Write a run folder around output/mixture; manifest.json last, so that a folder with it is complete.

    Args:
        run: config/runs/<run>.
        indexed: folder of the counted .bin and .idx files.
        validation: folder of the validation sets, if there are any; those with nothing to predict are left out.
        tokenizer: tokenizer.model or tokenizer.json, in a folder named by its identity.
        checkpoint: folder of the converted checkpoint.
        sources: further files that the run was made from.
        output: the run folder.
        tokenized: folder of the data signature, the sums of the documents and the shards' receipts, or its location in
            a store; None leaves out signature and sums, and the hashes of the .bin files.
        exported_tokenizer: folder that export_tokenizer.py wrote; None leaves out the small files of exports.
        plans: of corpora, {corpus}.json here or in a store; those of the mixture say which vendor files are in the run.

    Raises:
        ConfigError: the processes do not fill whole nodes.
        DataError: the mixture was computed of another tokenizer's shards.
        OperatorError: the checkpoint is not what its passport says, or the exported tokenizer not the run's; or a
            training of the run goes on, or began with something else that must not change. The folder is then as it
            was.
    """
    with standing_still(output):
        mixture = read_json(mixture_path(output))
        _check_tokenizer(mixture["tokenizer"], tokenizer)
        resolved = load_run(run)
        passport.check(checkpoint)
        check_rewriting(run, indexed, tokenizer, checkpoint, tokenized, output)
        names = list(mixture["probabilities"])
        frame = recorded_frame(tokenized, names, indexed, tokenizer) if tokenized else None
        if exported_tokenizer:
            _check_exported(exported_tokenizer, tokenizer, frame)
        with _built_beside(output) as built:
            _build(
                built,
                run,
                resolved,
                names,
                indexed,
                validation,
                tokenizer,
                checkpoint,
                sources,
                tokenized,
                plans,
                exported_tokenizer,
            )
            architecture = read_architecture(built / "checkpoint")
            launch_files.write_launch_files(built, ROOT, resolved, architecture, mixture["probabilities"])
            blake3 = recorded_hashes(tokenized, names) if tokenized else {}
            manifest = {
                "identity": identity(built, resolved, tokenizer.parent.name, blake3),
                "files": {str(path.relative_to(built)): sha256(path) for path in hashed_files(built)},
                "sizes": {str(path.relative_to(built)): path.stat().st_size for path in large_files(built)},
                "blake3": blake3,
                "frame": frame,
                "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
                # Marked if the programs were changed since: sources/git.diff.
                "commit": _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"),
            }
        write_json(output / "manifest.json", manifest)


@contextmanager
def _built_beside(output: Path) -> Iterator[Path]:
    """Yield a folder to build a run folder in, of its name; when the block ends, its parts take the places of the old.

    What was there stays whole until then, and an error leaves it as it was. Where it is killed in the middle of the
    exchange, which are renames, the manifest is missing, and the same command writes the folder again.
    """
    beside = output / BESIDE
    shutil.rmtree(beside, ignore_errors=True)
    built, old = beside / output.resolve().name, beside / "old"
    built.mkdir(parents=True)
    old.mkdir()
    (built / "mixture").symlink_to(mixture_path(output).parent.resolve())
    try:
        yield built
        (built / "mixture").unlink()
        (output / "manifest.json").unlink(missing_ok=True)
        tokenizers = [path.name for path in output.glob("tokenizer.*")]
        for name in {*WRITTEN_FOLDERS, *launch_files.NAMES, *tokenizers, *(path.name for path in built.iterdir())}:
            if (output / name).exists():
                (output / name).rename(old / name)
            if (built / name).exists():
                (built / name).rename(output / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _build(
    output: Path,
    run: Path,
    resolved: RunSettings,
    names: list[str],
    indexed: Path,
    validation: Path | None,
    tokenizer: Path,
    checkpoint: Path,
    sources: list[Path],
    tokenized: str | None,
    plans: Sequence[str],
    exported_tokenizer: Path | None,
) -> None:
    """Write all parts of a run folder but those that start it, and the manifest; see `write_run_folder`."""
    for name in names:
        for suffix in (".bin", ".idx"):
            link_or_copy(indexed / f"{name}{suffix}", output / "data" / f"{name}{suffix}")
    for idx in sorted(validation.glob("*.idx")) if validation else []:
        if has_targets(idx.with_suffix("")):
            for path in (idx, idx.with_suffix(".bin")):
                link_or_copy(path, output / "validation" / path.name)
        else:
            print(f"validation set {idx.stem} is left out: of fewer than two tokens, there is none to predict")
    link_or_copy_tree(checkpoint, output / "checkpoint")
    if verification := passport.verification_path(checkpoint):
        link_or_copy(verification, output / "checkpoint" / passport.VERIFICATION)
    shutil.copyfile(tokenizer, output / tokenizer.name)
    if exported_tokenizer:
        write_small_files(checkpoint, exported_tokenizer, output / SMALL_FILES)
    write_text(output / "run.yaml", redact(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)))
    texts = Texts()
    (output / "sources").mkdir()
    for source in [*chosen_files(run), *sources]:
        texts.copy(source, output / "sources" / source.name)
    if tokenized:
        for name in (SIGNATURE, CONSERVATION):
            write_json(output / "sources" / name, stores.read_json(f"{tokenized}/{name}"))
    _copy_plans(plans, {parse_counted(name).shard.corpus for name in names}, output / "sources" / "plan")
    if diff := _git("diff", "HEAD"):
        texts.write(diff + "\n", output / "sources" / DIFF)
    for part in ("scripts", "config/schemas"):
        texts.copy_tree(ROOT / part, output / "code" / part)
    texts.tell(output / "sources")


def _copy_plans(plans: Sequence[str], corpora: set[str], output: Path) -> None:
    for plan in plans:
        name = Path(plan).name
        if name.removesuffix(".json") in corpora:
            write_json(output / name, stores.read_json(plan))


def _check_tokenizer(of_mixture: str | None, tokenizer: Path) -> None:
    if of_mixture not in (None, tokenizer.parent.name):
        raise DataError(
            f"the mixture is of shards of tokenizer {of_mixture}, the run's tokenizer is {tokenizer.parent.name}",
            where=tokenizer,
            action="compute the mixture from the signature of the run's tokenizer",
        )


def _check_exported(exported: Path, tokenizer: Path, frame: dict[str, Any] | None) -> None:
    """Check that what is exported is the tokenizer of the run, with what its shards have around their documents."""
    record = read_json(exported / RECORD)
    if record["tokenizer"] != sha256(tokenizer) or frame not in (None, record["frame"]):
        raise OperatorError(
            f"what is exported is another tokenizer, or has {record['frame']} around its documents, the shards {frame}",
            where=exported,
            action=f"make it again: snakemake --forcerun export_tokenizer {exported}",
        )


def hashed_files(output: Path) -> list[Path]:
    """Return the files to hash: all but tokens and weights, for which the .idx and conversion.json stand."""
    files = [path for path in _files(output) if path.suffix not in UNHASHED_SUFFIXES]
    files += [output / "run.yaml", *output.glob("tokenizer.*"), *(output / name for name in launch_files.NAMES)]
    return sorted(path for path in files if path.exists())


def large_files(output: Path) -> list[Path]:
    """Return the others, of which the manifest has the sizes."""
    return sorted(path for path in _files(output) if path.suffix in UNHASHED_SUFFIXES)


def _files(output: Path) -> list[Path]:
    found = [path for folder in ("mixture", *WRITTEN_FOLDERS) for path in (output / folder).rglob("*")]
    return [path for path in found if path.is_file() and path.suffix != ".pyc"]


def _git(*words: str) -> str | None:
    """Return the git state of the programs' repository; None outside of one."""
    command = ["git", *words]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
