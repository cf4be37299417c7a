"""Measure merging and tokenizing against their peers, in the same run; print a table of ratios.

    python benchmarks/bench_shards.py --text resources/bench/text --scratch resources/bench/scratch

With MEGATRON_LM set to a checkout of Megatron-LM, its tools/preprocess_data.py is the peer; without, the same loop.
Each figure is the median of some rounds, ours and the peer's in turn. Rates count jsonl bytes. "net" leaves out our
program's start-up, which is measured on a shard of one document; a shard of 40 GB has one start-up, too.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from unicodedata import normalize

import numpy as np
import orjson
from sentencepiece import SentencePieceTrainer
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from pretrain_llama.configuration import Corpus
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.shards import plan
from pretrain_llama.stores import source_file
from pretrain_llama.tokenization.certificate import Certificate
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.indexed import IndexedReader, writing_indexed
from pretrain_llama.tokenization.parity import CertifiedEngine, sample
from pretrain_llama.tokenization.texts import Texts

ROOT = Path(__file__).resolve().parents[1]
SHARD = "en_books_tales_split_0000"
LANGUAGES = ("english", "code", "arabic")
THREADS = os.cpu_count()
DOCUMENTS = 2_000_000
BLOCK_BYTES = 4 << 20
FORM_LINES = 20_000  # of text in a normal form


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="folder that make_text.py wrote")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for about 20 GB of results, removed")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is run")
    return parser.parse_args()


def run(*command: object) -> tuple[float, float]:
    """Run a command; return its seconds and its peak memory in MB, of the largest of its processes."""
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return seconds, usage.ru_maxrss / 1024


def in_turn(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """Return the median of each measure over some rounds, in which they take turns."""
    return [
        statistics.median(figures) for figures in zip(*([m() for m in measures] for _ in range(rounds)), strict=True)
    ]


def row(what: str, ours: str, peer: str, ratio: float, goal: str) -> None:
    print(f"| {what} | {ours} | {peer} | {ratio:.2f} | {goal} |", flush=True)


def merge(files: list[Path], scratch: Path) -> tuple[float, float]:
    """Plan files as one shard, and merge it to shard.jsonl and merge.json."""
    corpus = Corpus("en", "books", "tales", "", "text", "this benchmark")
    planned = plan.extend(plan.empty(corpus), [source_file(file) for file in files], corpus, 1 << 50)
    (scratch / "plan.json").unlink(missing_ok=True)
    plan.record(scratch / "plan.json", planned)
    program = [sys.executable, ROOT / "scripts/merge_shard.py", "--plan", scratch / "plan.json", "--shard", SHARD]
    (scratch / "shard.jsonl").unlink(missing_ok=True)
    return run(*program, "--output", scratch / "shard.jsonl", "--receipt", scratch / "merge.json")


def certify(scratch: Path, model: Path) -> float:
    """Certify a tokenizer, and return the seconds; its certificate is found by the name of the model."""
    program = [sys.executable, ROOT / "scripts/certify_tokenizer.py", "--tokenizer", "bench.00000000"]
    certificate = scratch / f"{model.name}.parity.json"
    return run(*program, "--tokenizer-model", model, "--threads", THREADS, "--output", certificate)[0]


def normalizing(model: Path, scratch: Path) -> Path:
    """Write the model with the normalizer that SentencePiece trains by default, and return its path."""
    trained = io.BytesIO()
    lines = iter(["a few words to train on"] * 9)
    options = {"vocab_size": 20, "hard_vocab_limit": False, "minloglevel": 2}
    SentencePieceTrainer.train(sentence_iterator=lines, model_writer=trained, **options)
    changed = ModelProto.FromString(model.read_bytes())
    changed.normalizer_spec.CopyFrom(ModelProto.FromString(trained.getvalue()).normalizer_spec)
    changed.normalizer_spec.remove_extra_whitespaces = False
    (scratch / "normalizing.model").write_bytes(changed.SerializeToString())
    return scratch / "normalizing.model"


def in_form(source: Path, form: str, scratch: Path) -> Path:
    """Write the text of a shard in a normal form of Unicode, and return its path."""
    path = scratch / f"{form}.jsonl"
    with open(source, encoding="utf-8") as lines, open(path, "w", encoding="utf-8") as file:
        for line in islice(lines, FORM_LINES):
            file.write(json.dumps({"text": normalize(form, json.loads(line)["text"])}, ensure_ascii=False) + "\n")
    return path


def tokenize(scratch: Path, model: Path) -> tuple[float, float]:
    """Tokenize what was merged."""
    shard = ["--shard", SHARD, "--jsonl", scratch / "shard.jsonl", "--merge-receipt", scratch / "merge.json"]
    tokenizer = ["--tokenizer", "bench.00000000", "--tokenizer-model", model, "--text-key", "text"]
    program = [sys.executable, ROOT / "scripts/tokenize_shard.py"]
    certificate = ["--certificate", scratch / f"{model.name}.parity.json"]
    return run(*program, *shard, *tokenizer, *certificate, "--threads", THREADS, "--output-prefix", scratch / "ours")


def preprocess_data(text: Path, model: Path, scratch: Path) -> float:
    """Tokenize with Megatron-LM's program, or the same loop."""
    common = ["--input", text, "--tokenizer-model", model, "--workers", THREADS, "--output-prefix", scratch / "theirs"]
    if "MEGATRON_LM" in os.environ:
        program = Path(os.environ["MEGATRON_LM"]) / "tools" / "preprocess_data.py"
        return run(sys.executable, program, *common, "--tokenizer-type", "Llama2Tokenizer", "--append-eod")[0]
    return run(sys.executable, ROOT / "benchmarks/preprocess_data_loop.py", *common)[0]


def encode_batch_alone(text: Path, model: Path) -> float:
    program = [sys.executable, ROOT / "benchmarks/encode_batch_alone.py", "--input", text, "--tokenizer-model", model]
    command = list(map(str, [*program, "--threads", THREADS]))
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cat(files: list[Path], scratch: Path) -> float:
    (scratch / "cat.jsonl").unlink(missing_ok=True)
    return run("bash", "-c", f"cat {' '.join(map(str, files))} > {scratch}/cat.jsonl")[0]


def bench_tokenizing(text: Path, scratch: Path, rounds: int) -> None:
    model = text / "tokenizer.model"
    certified = certify(scratch, model)
    (scratch / "one.jsonl").write_text('{"text": "one"}\n')
    merge([scratch / "one.jsonl"], scratch)
    start_up = statistics.median(tokenize(scratch, model)[0] for _ in range(rounds))
    print(f"start-up of tokenize_shard.py: {start_up:.2f} s\n")
    print("| what | ours | peer | ratio | goal |\n|---|---|---|---|---|")
    for language in LANGUAGES:
        source = text / f"{language}.jsonl"
        size = source.stat().st_size / 1e6
        merge([source], scratch)
        ours, bare = in_turn(
            rounds, lambda: tokenize(scratch, model)[0], lambda source=source: encode_batch_alone(source, model)
        )
        theirs = preprocess_data(source, model, scratch)
        net = ours - start_up
        pool, engine = f"{size / theirs:.1f} MB/s", f"{size / bare:.0f} MB/s"
        row(f"tokenize {language}, against preprocess_data", f"{size / ours:.0f} MB/s", pool, theirs / ours, "")
        row("the same, net", f"{size / net:.0f} MB/s", pool, theirs / net, "≥ 15")
        row(f"tokenize {language}, net, against encode_batch", f"{size / net:.0f} MB/s", engine, bare / net, "≥ 0.9")
    row("certify the tokenizer", f"{certified:.0f} s", "120 s", certified / 120, "≤ 1")


def bench_normalizing(text: Path, scratch: Path, rounds: int) -> None:
    """Arabic, by a model that normalizes: composed, as it is typed, and decomposed, which the reference encodes."""
    model = normalizing(text / "tokenizer.model", scratch)
    certified = certify(scratch, model)
    row("certify it with SentencePiece's default normalizer", f"{certified:.0f} s", "120 s", certified / 120, "≤ 1")
    for form in ("NFC", "NFD"):
        source = in_form(text / "arabic.jsonl", form, scratch)
        size = source.stat().st_size / 1e6
        merge([source], scratch)
        seconds = statistics.median(tokenize(scratch, model)[0] for _ in range(rounds))
        receipt = TokenizeReceipt.read(scratch / "ours.receipt.json")
        share = receipt.by_reference / (receipt.documents + receipt.held_out_documents)
        print(f"<!-- {form}: {share:.1%} of the documents by the reference -->")
        theirs = preprocess_data(source, model, scratch)
        ours, pool = f"{size / seconds:.1f} MB/s", f"{size / theirs:.1f} MB/s"
        row(f"tokenize Arabic in {form}, normalizing, against preprocess_data", ours, pool, theirs / seconds, "")


def bench_checks(text: Path, scratch: Path) -> None:
    """CPU time of what holds the fast engine to the reference, against all of encoding, in blocks of 4 MiB."""
    model = scratch / "normalizing.model"
    certificate = Certificate.read(scratch / f"{model.name}.parity.json")
    reference = load_reference(model, 1)
    engine = CertifiedEngine(reference, certificate, 1)
    for language in LANGUAGES:
        with open(text / f"{language}.jsonl", "rb") as lines:
            texts = [normalize("NFC", orjson.loads(line)["text"]).encode() for line in lines]
        blocks, block, size = [], [], 0
        for one in texts:
            block.append(one)
            size += len(one)
            if size >= BLOCK_BYTES:
                blocks.append(Texts.of(block))
                block, size = [], 0
        all_of_it = cpu_seconds(engine.encode, blocks)
        scan = cpu_seconds(certificate.patterns.are_in, blocks)
        net = cpu_seconds(lambda texts: reference.encode(sample(texts)[0]), blocks)
        row(
            f"look for what is untrusted, {language}", f"{scan:.2f} s", f"{all_of_it:.2f} s", scan / all_of_it, "≤ 0.05"
        )
        row(f"the sample of both engines, {language}", f"{net:.2f} s", f"{all_of_it:.2f} s", net / all_of_it, "≤ 0.03")


def cpu_seconds(work: Callable[[Texts], object], blocks: list[Texts]) -> float:
    start = time.process_time()
    for block in blocks:
        work(block)
    return time.process_time() - start


def bench_merging(text: Path, scratch: Path, rounds: int) -> None:
    files = []
    for copy in range(8):
        for language in LANGUAGES:
            files.append(scratch / f"{copy}_{language}.jsonl")
            os.link(text / f"{language}.jsonl", files[-1])
    size = sum(file.stat().st_size for file in files) / 1e9
    ours, theirs = in_turn(3 * rounds, lambda: merge(files, scratch)[0], lambda: cat(files, scratch))
    row(
        f"merge {size:.1f} GB, against cat",
        f"{size / ours:.2f} GB/s",
        f"{size / theirs:.2f} GB/s",
        theirs / ours,
        "≥ 0.8",
    )
    assert MergeReceipt.read(scratch / "merge.json").bytes == (scratch / "cat.jsonl").stat().st_size


def bench_counting(scratch: Path) -> None:
    lengths = np.random.default_rng(0).integers(1, 16, DOCUMENTS)
    with writing_indexed(scratch / "counted", np.dtype(np.uint16)) as writer:
        writer.add_documents(np.ones(lengths.sum(), np.uint16), lengths)
    start = time.perf_counter()
    pair = IndexedReader(scratch / "counted")
    assert (pair.documents, pair.tokens) == (DOCUMENTS, lengths.sum())
    milliseconds = 1000 * (time.perf_counter() - start)
    row("count 2,000,000 documents from the .idx", f"{milliseconds:.1f} ms", "50 ms", milliseconds / 50, "≤ 1")


def bench_memory(text: Path, scratch: Path) -> None:
    peaks = []
    for copies in (1, 10):
        files = [scratch / f"{copies}_{copy}_{language}.jsonl" for copy in range(copies) for language in LANGUAGES]
        files += [scratch / f"{copies}_{copy}_more.jsonl" for copy in range(copies)]
        for file in files:
            language = file.stem.split("_")[-1].replace("more", "code")
            os.link(text / f"{language}.jsonl", file)
        merge(files, scratch)
        peaks.append(tokenize(scratch, text / "tokenizer.model")[1])
        size = (scratch / "shard.jsonl").stat().st_size / 1e9
        print(f"<!-- {size:.1f} GB: {peaks[-1]:.0f} MB -->")
    row(
        "peak memory, a shard of 4 GB against 0.4 GB",
        f"{peaks[1]:.0f} MB",
        f"{peaks[0]:.0f} MB",
        peaks[1] / peaks[0],
        "≤ 1.1",
    )


def main() -> None:
    args = parse_args()
    shutil.rmtree(args.scratch, ignore_errors=True)
    args.scratch.mkdir(parents=True)
    bench_tokenizing(args.text, args.scratch, args.rounds)
    bench_normalizing(args.text, args.scratch, args.rounds)
    bench_merging(args.text, args.scratch, args.rounds)
    bench_counting(args.scratch)
    bench_memory(args.text, args.scratch)
    bench_checks(args.text, args.scratch)  # last: peak memory of a process begins with that of the one that starts it
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    main()
