r"""Audit Megatron .bin/.idx pairs of any origin, and show some of their documents.

    python scripts/audit_indexed.py results/indexed/demo-8k.0a1b2c3d/*.bin \
        --tokenizer-model resources/demo/tokenizer.model --show 2

Checks the sizes, the offsets, the document boundaries, the ids against the vocabulary, that every document begins with
BOS and ends with EOS, and the counts in the name. With --jsonl, the reference engine encodes documents of the merged
shard that a pair was made from, and their ids are compared with the pair's. Exits with 2 if a pair has a defect.

    python scripts/audit_indexed.py results/tokenized/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document.bin \
        --tokenizer-model results/tokenizers/demo-8k.0a1b2c3d/tokenizer.model \
        --jsonl results/shards/en_code_python_split_0000.jsonl --held-out-fraction 0.05 --documents all
"""

import argparse
from pathlib import Path

from pretrain_llama.arguments import count
from pretrain_llama.errors import ConfigError, DataError, listed, run_program
from pretrain_llama.tokenization.audit import audit, decoded_documents
from pretrain_llama.tokenization.engines import Reference, load_reference
from pretrain_llama.tokenization.frame import frame_of
from pretrain_llama.tokenization.indexed import prefix_of
from pretrain_llama.tokenization.text_audit import Made, audit_text

SHOWN_CHARACTERS = 60  # of a text that has other ids


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=prefix_of, nargs="+", help="pairs: PREFIX, PREFIX.bin or PREFIX.idx")
    parser.add_argument("--tokenizer-model", help="SentencePiece model or tokenizer.json, to check ids and to decode")
    parser.add_argument("--bos-token", help="the BOS token; a tokenizer.json does not say which it is")
    parser.add_argument("--eos-token", help="the EOS token; a tokenizer.json does not say which it is")
    parser.add_argument("--without-bos", action="store_true", help="documents do not begin with BOS")
    parser.add_argument("--without-eos", action="store_true", help="documents do not end with EOS")
    parser.add_argument("--show", type=int, default=0, help="number of random documents to decode, of each pair")
    parser.add_argument("--jsonl", type=Path, help="merged shard that the pair was made from, to compare the ids")
    parser.add_argument("--text-key", default="text", help="key of the text in it; nested keys are joined by dots")
    parser.add_argument("--max-line-bytes", type=count, default=1 << 24, help="bytes of the longest line that is read")
    parser.add_argument(
        "--held-out-fraction", type=float, default=0.0, help="fraction of documents, 0 to 1, held out for validation"
    )
    parser.add_argument(
        "--documents", type=count_or_all, default=1000, help="number of random documents to compare, or all"
    )
    args = parser.parse_args()
    if args.jsonl and (len(args.pairs) > 1 or not args.tokenizer_model):
        parser.error("--jsonl goes with one pair, and with --tokenizer-model")
    return args


def count_or_all(text: str) -> int | None:
    return None if text == "all" else count(text)


def text_defects(prefix: Path, reference: Reference, args: argparse.Namespace) -> list[str]:
    """Compare a pair with the text that it was made from."""
    made = Made(args.jsonl, args.text_key, args.max_line_bytes, args.held_out_fraction)
    frame = frame_of(reference, not args.without_bos, not args.without_eos)
    found = audit_text(prefix, made, reference, frame, args.documents)
    print(f"    {found.compared:,} documents compared with {args.jsonl}: {len(found.wrong):,} have other ids")
    shown = [f"document {number}, {text[:SHOWN_CHARACTERS]!r}" for number, text in found.wrong.items()]
    return [f"other ids than {reference.name} gives: {listed(shown, '; ')}"] if shown else []


def edge_id(reference: Reference, role: str) -> int | None:
    """Return the id of BOS or EOS (`role`); None where the tokenizer does not tell, and it is not named."""
    if token := reference.frame_token(role):
        return token[0]
    if reference.named[role]:
        raise ConfigError(
            f"the tokenizer has no token {reference.named[role]!r}",
            where=reference.path,
            action=f"correct --{role}-token, or leave it out",
        )
    return None


def main() -> None:
    args = parse_args()
    named = {"bos_token": args.bos_token, "eos_token": args.eos_token}
    reference = load_reference(args.tokenizer_model, **named) if args.tokenizer_model else None
    bos = edge_id(reference, "bos") if reference and not args.without_bos else None
    eos = edge_id(reference, "eos") if reference and not args.without_eos else None
    prefixes = sorted(set(args.pairs))
    for prefix in prefixes:
        if not any(Path(f"{prefix}{suffix}").exists() for suffix in (".bin", ".idx")):
            raise ConfigError("no .bin/.idx pair", where=prefix, action="give PREFIX, PREFIX.bin or PREFIX.idx of each")
    defective = []
    for prefix in prefixes:
        found = audit(prefix, reference, bos, eos)
        rates = [f"{role} {rate:.2%}" for role, rate in [("BOS", found.bos_rate), ("EOS", found.eos_rate)] if rate]
        print(
            f"{prefix.name}: {found.documents:,} documents, {found.empty:,} of them empty; {found.tokens:,} tokens, "
            f"ids {found.smallest_id} to {found.largest_id}" + "".join(f"; {rate}" for rate in rates)
        )
        if reference and args.jsonl and not found.defects:
            found.defects += text_defects(prefix, reference, args)
        for defect in found.defects:
            print(f"    defect: {defect}")
        if found.defects:
            defective.append(prefix)
        elif reference:
            for number, text in decoded_documents(prefix, reference, args.show):
                print(f"    document {number}: {text!r}")
    if defective:
        raise DataError(
            f"{len(defective)} of {len(prefixes)} pairs have defects",
            where=listed([str(prefix) for prefix in defective]),
            action="delete them, and the receipts beside them, and run snakemake, which tokenizes their shards again; "
            "where ids, BOS or EOS are wrong, see first whether --tokenizer-model is theirs",
        )


if __name__ == "__main__":
    run_program(main)
