r"""Audit Megatron .bin/.idx pairs of any origin, and read some of their documents.

    python scripts/audit_indexed.py results/indexed/demo-8k.0a1b2c3d/*.bin \
        --tokenizer-model resources/demo/tokenizer.model --show 2

Checks the sizes, the offsets, the document boundaries, the ids against the vocabulary, that every document begins with
BOS and ends with EOS, and the counts in the name. Exits with 2 if a pair has a defect.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import ConfigError, DataError, listed, run_program
from pretrain_llama.tokenization.audit import audit, decoded_documents
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.indexed import prefix_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=prefix_of, nargs="+", help="pairs: PREFIX, PREFIX.bin or PREFIX.idx")
    parser.add_argument("--tokenizer-model", help="SentencePiece model or tokenizer.json, to check ids and to decode")
    parser.add_argument("--bos-token", help="the BOS token, for a tokenizer.json")
    parser.add_argument("--eos-token", help="the EOS token, for a tokenizer.json")
    parser.add_argument("--without-bos", action="store_true", help="documents do not begin with BOS")
    parser.add_argument("--without-eos", action="store_true", help="documents do not end with EOS")
    parser.add_argument("--show", type=int, default=0, help="number of random documents to decode, of each pair")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    reference = load_reference(args.tokenizer_model) if args.tokenizer_model else None
    bos = reference.token_id(args.bos_token, "bos") if reference and not args.without_bos else None
    eos = reference.token_id(args.eos_token, "eos") if reference and not args.without_eos else None
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
            action="delete them and tokenize their shards again; where ids, BOS or EOS are wrong, see first whether "
            "--tokenizer-model is theirs",
        )


if __name__ == "__main__":
    run_program(main)
