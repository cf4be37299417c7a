r"""Enlarge a SentencePiece tokenizer with new pieces after the old ones, whose ids stay; measure what that changes.

    python scripts/expand_vocabulary.py --tokenizer-model resources/demo/tokenizer.model \
        --shards results/shards/*_split_0000.jsonl --text-keys text --languages ar --new-pieces 1000 \
        --output expanded/tokenizer.model --pieces-output expanded/pieces.tsv --fertility expanded/fertility

New pieces are trained on the texts of some languages, or given (--pieces). A tenth of the texts of every shard is not
trained on: on these, fertility is measured (tokens a word and a byte, by language and domain, before and after), and
how many encode as before. Which texts do: scripts/pretrain_llama/vocabulary/model.py.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pretrain_llama import names
from pretrain_llama.arguments import count
from pretrain_llama.errors import ConfigError, listed, run_program
from pretrain_llama.files import replacing, write_json
from pretrain_llama.progress import Progress
from pretrain_llama.stores import references
from pretrain_llama.vocabulary.fertility import Fertility, measure
from pretrain_llama.vocabulary.model import encoder, enlarged, load_model
from pretrain_llama.vocabulary.pieces import choose, read_list, train_candidates, unreachable, write_pieces
from pretrain_llama.vocabulary.sample import divide, sample_texts

PARTS = "list the parts of each, too: two neighbours are joined at a time, so abc takes a, b and c, and ab or bc"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer-model", type=Path, required=True, help="SentencePiece model to enlarge, BPE")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="jsonl shards to train and measure on")
    parser.add_argument("--text-keys", nargs="+", required=True, help="key of the text in each shard, or one for all")
    parser.add_argument("--languages", nargs="*", default=[], help="of the shards to train new pieces on")
    parser.add_argument("--new-pieces", type=count, help="number of pieces to train")
    parser.add_argument("--pieces", type=Path, help="new pieces, a line each, in place of training; ▁ for a space")
    parser.add_argument(
        "--unchanged-languages", nargs="*", default=[], help="in whose texts here no new piece may be used"
    )
    parser.add_argument(
        "--sample-bytes", type=count, default=50_000_000, help="bytes of each shard to look at, evenly spread over it"
    )
    parser.add_argument("--max-line-bytes", type=count, default=1 << 24, help="a longer line is passed over")
    parser.add_argument("--output", type=Path, required=True, help="SentencePiece model to write")
    parser.add_argument("--pieces-output", type=Path, required=True, help="table of new pieces and their old ids (TSV)")
    parser.add_argument("--fertility", type=Path, required=True, help="writes FERTILITY.json and FERTILITY.csv")
    args = parser.parse_args()
    if (args.pieces is None) == (args.new_pieces is None) or bool(args.languages) != (args.new_pieces is not None):
        parser.error("give --languages with --new-pieces, or --pieces")
    if len(args.text_keys) == 1:
        args.text_keys *= len(args.shards)
    if len(args.text_keys) != len(args.shards):
        parser.error(f"give one text key, or one for each of {len(args.shards)} shards")
    return args


def main() -> None:
    args = parse_args()
    base = load_model(args.tokenizer_model)
    training, unchanged, measured = read_texts(args)
    sizes: dict[str, Any] = {"vocab_size_before": len(base.pieces)}
    if args.pieces:
        given = read_list(args.pieces, base)
        pieces, sizes["list"] = given.new, given.counts
        print(
            "{lines} lines: {new} new, {known} known, {repeated} repeated, {blank} blank".format(**given.counts),
            file=sys.stderr,
        )
    else:
        pieces = choose(base, train_candidates(base, training, args.new_pieces), args.new_pieces, unchanged)
    model = enlarged(base, pieces)
    never = unreachable(model, pieces)
    if len(never) == len(pieces):
        raise ConfigError(
            f"none of the {len(never):,} given pieces ever comes about: {listed(never)}",
            where=args.pieces,
            action=PARTS,
        )
    write_pieces(args.pieces_output, base, pieces)
    with replacing(args.output) as file:
        file.write(model.SerializeToString())
    if never:
        print(f"warning: {len(never):,} given pieces never come about: {listed(never)}; {PARTS}", file=sys.stderr)
    old, new = encoder(base), encoder(model)
    found = {domain: measure(texts, old, new) for domain, texts in measured.items()}
    sizes |= {"vocab_size_after": len(model.pieces), "never_used": never}
    write_fertility(args.fertility, found, sizes)


def read_texts(args: argparse.Namespace) -> tuple[list[str], list[str], dict[tuple[str, str], list[str]]]:
    """Return the texts to train on, those that must encode as before, and those to measure on, by domain."""
    training: list[str] = []
    unchanged: list[str] = []
    measured: dict[tuple[str, str], list[str]] = {}
    there = {names.parse_shard(shard.stem).language for shard in args.shards}
    if unknown := [language for language in (*args.languages, *args.unchanged_languages) if language not in there]:
        raise ConfigError(
            f"no shard is of {', '.join(unknown)}",
            where=", ".join(map(str, args.shards)),
            action=f"give shards of these languages, or those that are there: {', '.join(sorted(there))}",
        )
    with Progress(len(args.shards), "shards", "read") as progress:
        for shard, text_key in zip(args.shards, args.text_keys, strict=True):
            references.resolve(shard)
            texts, to_measure = divide(sample_texts(shard, text_key, args.sample_bytes, args.max_line_bytes))
            name = names.parse_shard(shard.stem)
            if name.language in args.languages:
                training += texts
            if name.language in args.unchanged_languages:
                unchanged += texts
            measured.setdefault((name.language, name.domain), []).extend(to_measure)
            progress.advance(1)
    if args.languages and not training:
        raise ConfigError(
            f"no text of {', '.join(args.languages)} in these shards",
            where=", ".join(map(str, args.shards)),
            action="look at more of their text: a larger --sample-bytes (sample_bytes_per_corpus), or other shards",
        )
    return training, unchanged, measured


def write_fertility(path: Path, found: dict[tuple[str, str], Fertility], sizes: dict[str, Any]) -> None:
    """Write what was measured as JSON, and as a table."""
    import pandas as pd

    rows = [
        {"language": language, "domain": domain} | fertility.described()
        for (language, domain), fertility in sorted(found.items())
    ]
    languages: dict[str, Fertility] = {}
    for (language, _), fertility in found.items():
        languages[language] = languages.get(language, Fertility()) + fertility
    measured = sizes | {
        "sentencepiece": version("sentencepiece"),
        "languages": {language: fertility.described() for language, fertility in sorted(languages.items())},
        "domains": rows,
    }
    write_json(path.with_name(f"{path.name}.json"), measured)
    with replacing(path.with_name(f"{path.name}.csv"), "w") as file:
        pd.DataFrame(rows).to_csv(file, index=False, lineterminator="\n")
    for language, described in measured["languages"].items():
        print(
            "{language}: {tokens_per_word_before} -> {tokens_per_word_after} tokens a word; {unchanged} of {texts} "
            "texts encode as before, {changed_without_new_pieces} otherwise without a new piece".format(
                language=language, **described
            ),
            file=sys.stderr,
        )


if __name__ == "__main__":
    run_program(main)
