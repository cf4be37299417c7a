"""The ways in which a newcomer fails: each ends in one screen that says what, where and what next.

Those of one value of a configuration are in test_configuration.py, of the mixture in test_mixture_errors.py, of the
sizes of a run in test_sizes.py, of a run folder in test_training.py, of a checkpoint in test_checkpoint_errors.py.
"""

import gzip
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain_llama.launch.files import LAUNCH
from project import COLUMNS, PREFIX, SCRIPTS, SHARD, Project, Result, jsonl, merge_shard, plan_files, run_script

LINES_OF_A_SCREEN = 25
CONFIG, CORPORA, RUN = "config/config.yaml", "config/corpora.tsv", "config/runs/tiny/run.yaml"
# Root may read and write all; without these capabilities, what the modes of its files allow.
AS_A_USER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []


def check_screen(result: Result, *parts: str) -> None:
    """Check that a program failed with a screen that holds some parts, an action, and nothing of our sources."""
    screen = result.stdout + result.stderr
    assert result.returncode != 0
    for part in (*parts, "\n  where: ", "\n  next:  "):
        assert part in screen, screen
    assert "Traceback" not in screen and 'File "' not in screen, screen
    assert len(screen.splitlines()) <= LINES_OF_A_SCREEN, screen


def change(path: str, old: str, new: str) -> Callable[[Project], None]:
    def changed(project: Project) -> None:
        text = (project.folder / path).read_text()
        assert old in text
        (project.folder / path).write_text(text.replace(old, new))

    return changed


def write(path: str, content: bytes) -> Callable[[Project], None]:
    return lambda project: (project.folder / path).write_bytes(content)


def encode(path: str, encoding: str) -> Callable[[Project], None]:
    return lambda project: (project.folder / path).write_text((project.folder / path).read_text(), encoding)


def row_of_news(**columns: str) -> Callable[[Project], None]:
    """The table with the row of ar_news_daily alone, some of its columns changed."""
    row = {"language": "ar", "domain": "news", "subdomain": "daily", "source": "vendor/ar_news_daily/*"}
    row |= {"text_key": "text"} | columns
    return lambda project: project.corpora([row[name] for name in COLUMNS])


NEWS = "vendor/ar_news_daily/a.jsonl"
WRONG = {
    "a configuration that is no YAML": (change(CONFIG, "runs:", "\truns:"), ["no YAML", "line ", CONFIG]),
    "a configuration with a key twice": (
        lambda project: write(CONFIG, (project.folder / CONFIG).read_bytes() + b"\nshard_size_bytes: 7\n")(project),
        ["key 'shard_size_bytes' stands there twice", CONFIG, "keep one of the two"],
    ),
    "an empty configuration": (write(CONFIG, b""), ["no keys in the file", CONFIG]),
    "no configuration": (lambda project: (project.folder / CONFIG).unlink(), ["no such file", CONFIG]),
    "no table": (lambda project: (project.folder / CORPORA).unlink(), ["no such file", CORPORA]),
    "a table with spaces for tabs": (
        change(CORPORA, "\t", "  "),
        ["no column 'language'", f"{CORPORA}:1", "one tab: language, domain"],
    ),
    "a table without a column": (
        change(CORPORA, "\ttext_key", ""),
        ["no column 'text_key'", f"{CORPORA}:1", "one tab"],
    ),
    "a table in UTF-16": (encode(CORPORA, "utf-16"), ["no text in UTF-8", CORPORA, "save it as"]),
    "a source that is a folder": (
        row_of_news(source="vendor/ar_news_daily"),
        ["source 'vendor/ar_news_daily' is a folder", f"{CORPORA}:2", "write 'vendor/ar_news_daily/*'"],
    ),
    "a folder that is missing": (
        lambda project: shutil.rmtree(project.folder / "vendor"),
        ["source 'vendor/en_books_tales/*' matches no file", f"{CORPORA}:2", "fetch the vendor's files"],
    ),
    "a format that is not read": (
        lambda project: project.vendor("ar_news_daily/notes.txt", b"hello\n"),
        ["notes.txt is no vendor file", f"{CORPORA}:3", "narrow the glob", "convert the file"],
    ),
    "what is named .gz and is none": (
        write("vendor/ar_news_daily/b.jsonl.gz", b"hello"),
        ["Not a gzipped file", "where: vendor/ar_news_daily/b.jsonl.gz", "fetch the file again"],
    ),
    "a text key that no document has": (
        row_of_news(text_key="content"),
        ["text_key 'content' is in none of the first 100 documents; the keys of the first: text", f"{CORPORA}:2", NEWS],
    ),
    "the same, compressed": (
        lambda project: (
            row_of_news(text_key="content")(project),
            project.vendor("ar_news_daily/a.jsonl", b""),
            write("vendor/ar_news_daily/b.jsonl.gz", gzip.compress(jsonl(["one", "two"])))(project),
        ),
        ["is in none of the first 2 documents; the keys of the first: text", "b.jsonl.gz"],
    ),
    "a file that lies there compressed, too": (
        lambda project: write("vendor/ar_news_daily/a.jsonl.gz", gzip.compress(jsonl(["one"])))(project),
        [f"{NEWS} lies there compressed, too", f"{CORPORA}:3; {NEWS}.gz", "remove the one that is not planned yet"],
    ),
    "a link to a file that is there": (
        lambda project: (project.folder / "vendor/ar_news_daily/b.jsonl").symlink_to("a.jsonl"),
        ["b.jsonl and vendor/ar_news_daily/a.jsonl are one file", f"{CORPORA}:3", "remove the link"],
    ),
    "a hard link to it": (
        lambda project: os.link(project.folder / NEWS, project.folder / "vendor/ar_news_daily/b.jsonl"),
        ["b.jsonl and vendor/ar_news_daily/a.jsonl are one file", f"{CORPORA}:3", "remove the link"],
    ),
    "a link to the folder itself": (
        lambda project: (
            row_of_news(source="vendor/ar_news_daily/**/*.jsonl")(project),
            (project.folder / "vendor/ar_news_daily/latest").symlink_to("."),
        ),
        ["are one file: its documents would be taken twice", f"{CORPORA}:2"],
    ),
    "a link to nowhere": (
        lambda project: (project.folder / "vendor/ar_news_daily/b.jsonl").symlink_to("/nowhere"),
        ["a link leads nowhere", "where: vendor/ar_news_daily/b.jsonl", "bring back the file"],
    ),
    "a name that is no UTF-8": (
        lambda project: Path(
            os.fsdecode(f"{project.folder}/vendor/ar_news_daily/".encode() + b"caf\xe9.jsonl")
        ).touch(),
        ["the file's name is no UTF-8", "where: vendor/ar_news_daily/caf\\xe9.jsonl", "rename it"],
    ),
    "two rows that have a file in common": (
        lambda project: project.corpora(
            ["ar", "news", "daily", "vendor/ar_news_daily/*", "text"],
            ["ar", "news", "all", "vendor/ar_news_*/*", "text"],
        ),
        [f"{NEWS} is in ar_news_daily and in ar_news_all", f"{CORPORA}:2; {CORPORA}:3", "narrow one of the two globs"],
    ),
    "blank lines alone": (write(NEWS, b"\n\r\n \n"), ["all lines of the corpus are blank", f"{CORPORA}:3"]),
    "one JSON array over many lines": (
        write(NEWS, b'[\n {\n  "text": "one"\n },\n {\n  "text": "two"\n }\n]\n'),
        ["none of the first 8 lines is a document: 8 bad_json", f"where: {NEWS}", "a JSON object a line"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_told_before_the_first_job(project: Project, case: str) -> None:
    make_wrong, parts = WRONG[case]
    make_wrong(project)
    check_screen(run_script("plan_shards.py", "--dry-run", cwd=project.folder), *parts)


def test_empty_texts_first_are_no_wrong_key(project: Project) -> None:
    write(NEWS, jsonl([""] * 8 + ["one"]))(project)
    result = run_script("plan_shards.py", "--dry-run", cwd=project.folder)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "case", ["a configuration with a key twice", "a configuration that is no YAML", "a text key that no document has"]
)
def test_snakemake_tells_the_same(project: Project, case: str) -> None:
    make_wrong, parts = WRONG[case]
    make_wrong(project)
    check_screen(project.snakemake(), *parts)
    assert not (project.folder / "results").exists()


def test_an_empty_run_is_told(project: Project) -> None:
    (project.folder / RUN).write_text("")
    check_screen(project.snakemake("--dry-run"), "no keys in the file", RUN)


def test_a_table_of_a_spreadsheet_is_read(project: Project) -> None:
    encode(CORPORA, "utf-8-sig")(project)
    assert run_script("plan_shards.py", "--dry-run", cwd=project.folder).returncode == 0


def test_one_document_among_the_first_is_enough(project: Project) -> None:
    project.vendor("ar_news_daily/a.jsonl", jsonl(["other"] * 9, key="title") + jsonl(["a text"]))
    assert run_script("plan_shards.py", "--dry-run", cwd=project.folder).returncode == 0


def test_outside_of_the_project_there_is_no_snakefile(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1 and "No Snakefile found" in result.stderr


def test_a_missing_package_is_told(project: Project, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text('import sys\nsys.modules["blake3"] = None\n')
    command = [sys.executable, "-m", "snakemake", "--dry-run"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "without")}
    result = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    check_screen(result, "Python packages are missing: blake3", sys.executable, "make install && source .venv")


def test_a_launch_outside_of_the_environment_is_told(tmp_path: Path) -> None:
    (tmp_path / "launch.sh").write_text(LAUNCH)
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S: without packages
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    result = subprocess.run(["bash", tmp_path / "launch.sh"], env=environment, capture_output=True, text=True)
    check_screen(result, f"no python with the packages of this run: {tmp_path}/python", "activate their environment")


def with_little_room(name: str, *args: object) -> Result:
    """Run a program that may write no file of more than 5,000 bytes."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, args)]
    limits = (5_000, 5_000)
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, tokenizer_model: Path, llama: Path) -> None:
    vendor = tmp_path / "a.jsonl"
    vendor.write_bytes(jsonl([f"A tale of {n} ships, and of the sea." for n in range(3000)]))
    plan = plan_files(tmp_path, vendor)
    outputs = ["--output", tmp_path / "full.jsonl", "--receipt", tmp_path / "full.json"]
    merged = with_little_room("merge_shard.py", "--plan", plan, "--shard", SHARD, *outputs)
    check_screen(merged, f"where: {tmp_path}/full.jsonl", "make room there")
    assert merge_shard(tmp_path, vendor).returncode == 0
    before = sorted(tmp_path.iterdir())
    shard = ["--shard", SHARD, "--jsonl", tmp_path / "shard.jsonl", "--merge-receipt", tmp_path / "merge.json"]
    tokenizer = ["--text-key", "text", "--tokenizer", "toy.01234567", "--tokenizer-model", tokenizer_model]
    prefix = ["--output-prefix", tmp_path / PREFIX]
    check_screen(with_little_room("tokenize_shard.py", *shard, *tokenizer, *prefix), PREFIX, "make room there")
    converted = ["--source", llama, "--output", tmp_path / "converted"]
    check_screen(with_little_room("convert_checkpoint.py", *converted), f"{tmp_path}/converted", "make room there")
    assert sorted(tmp_path.iterdir()) == before


def as_a_user(project: Project, *command: str) -> Result:
    return subprocess.run([*AS_A_USER, sys.executable, *command], cwd=project.folder, capture_output=True, text=True)


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may do everything")
@pytest.mark.parametrize("path", [NEWS, "vendor/ar_news_daily", CORPORA])
def test_what_must_not_be_read_is_told(project: Project, path: str) -> None:
    (project.folder / path).chmod(0)
    result = as_a_user(project, str(SCRIPTS / "plan_shards.py"), "--dry-run")
    (project.folder / path).chmod(0o755)
    check_screen(result, "permission denied", f"where: {path}", "ls -ld shows whose it is")


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may do everything")
def test_a_folder_that_a_glob_must_not_read_is_told(project: Project) -> None:
    project.vendor("ar_news_daily/closed/b.jsonl", jsonl(["one"]))
    row_of_news(source="vendor/ar_news_daily/**/*.jsonl")(project)
    closed = project.folder / "vendor/ar_news_daily/closed"
    closed.chmod(0)
    result = as_a_user(project, str(SCRIPTS / "plan_shards.py"), "--dry-run")
    closed.chmod(0o755)
    check_screen(result, "permission denied", "where: vendor/ar_news_daily/closed", "ls -ld shows whose it is")


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may do everything")
def test_what_must_not_be_written_is_told(project: Project, tmp_path: Path) -> None:
    project.folder.chmod(0o555)
    result = as_a_user(project, "-m", "snakemake")
    project.folder.chmod(0o755)
    check_screen(result, "permission denied", f"where: {project.folder}\n")
    (project.folder / "results").mkdir(mode=0o555)
    result = as_a_user(project, "-m", "snakemake", f"results/shards/{SHARD}.jsonl")
    assert "permission denied\n  where: results/plan\n  next:  " in result.stderr and result.returncode == 1


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = (
            "from pretrain_llama.errors import run_program\n"
            "from pretrain_llama.launch.ranks import Ranks\n"
            "from pretrain_llama.training.processes import process_groups\n"
            f"run_program(process_groups(1, 1, 'a test', Ranks(0, 2, 0, 2, '127.0.0.1', {port})).__enter__)\n"
        )
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    check_screen(result, "address already in use", f"127.0.0.1:{port}", "choose another MASTER_PORT")


def test_the_screen_ends_with_what_failed(project: Project) -> None:
    whole = gzip.compress(jsonl([f"A tale of {n} ships." for n in range(2000)]))
    write("vendor/ar_news_daily/b.jsonl.gz", whole[:-200])(project)
    result = project.snakemake("results/shards/ar_news_daily_split_0001.jsonl", f"results/shards/{SHARD}.jsonl")
    assert result.returncode == 1
    end = "\n".join(result.stderr.splitlines()[-12:])
    assert "failed: merge_shard results/shards/ar_news_daily_split_0001.jsonl" in end
    assert "| data error: a vendor file cannot be read: Compressed file ended before" in end
    assert "where: vendor/ar_news_daily/b.jsonl.gz" in end and "next:  fetch the file again" in end
    assert (project.folder / "results" / "shards" / f"{SHARD}.jsonl").exists(), "the others are made"


def test_a_killed_snakemake_leaves_a_lock_and_no_half_shard(project: Project, tmp_path: Path) -> None:
    wrapper = tmp_path / "bin" / "python"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\necho half > results/shards/half\nexec sleep 600\n")
    wrapper.chmod(0o755)
    shard = f"results/shards/{SHARD}.jsonl"
    environment = os.environ | {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", shard]
    killed = subprocess.Popen(command, cwd=project.folder, env=environment, stderr=subprocess.DEVNULL, process_group=0)
    deadline = time.monotonic() + 60
    while not (project.folder / "results" / "shards" / "half").exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    (project.folder / shard).write_text("half a shard\n")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    locked = project.snakemake(shard)
    assert locked.returncode == 1 and "Directory cannot be locked" in locked.stderr and "--unlock" in locked.stderr
    assert project.snakemake("--unlock").returncode == 0
    result = project.snakemake(shard)
    assert result.returncode == 0, result.stderr
    assert "half" not in (project.folder / shard).read_text()
