"""Let an exported model continue prompts, greedily, through transformers.

python scripts/sample_text.py --model results/runs/demo/export/final --run config/runs/demo --output sample.txt

A prompt begins as the documents of the training did, with BOS or without, and its continuation ends where they end.
"""

import argparse
from pathlib import Path

from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.exports.prompts import prompt_ids
from pretrain_llama.files import write_text
from pretrain_llama.run.folder import read_frame
from pretrain_llama.tokenization.engines import load_reference


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder that a run was exported to")
    parser.add_argument("--run", type=Path, required=True, help="folder of run.yaml, which holds the prompts")
    parser.add_argument(
        "--run-folder", type=Path, help="run folder with the tokenizer and its frame; by default the one of MODEL"
    )
    parser.add_argument("--output", type=Path, required=True, help="text file to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not (args.model / "config.json").exists():
        raise ConfigError("no config.json", where=args.model, action="give an exported folder")
    run_folder = args.run_folder or args.model.resolve().parent.parent  # of {run_folder}/export/{iteration}
    bos, eos = map(read_frame(run_folder).get, ("bos", "eos"))
    named = {"bos_token": bos and bos.token, "eos_token": eos and eos.token}
    tokenizer = load_reference(next(run_folder.glob("tokenizer.*")), **named)
    import torch
    from transformers import LlamaForCausalLM

    sample = load_run(args.run)["sample"]
    model = LlamaForCausalLM.from_pretrained(args.model).eval()
    continued = []
    above = list(range(tokenizer.vocab_size, model.config.vocab_size))  # rows that stand for nothing
    for prompt in sample["prompts"]:
        tokens = torch.tensor([prompt_ids(prompt, tokenizer, [bos.id] if bos else [], args.run / "run.yaml")])
        generated = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=sample["new_tokens"],
            do_sample=False,
            suppress_tokens=above or None,
            eos_token_id=eos.id if eos else None,
            pad_token_id=eos.id if eos else 0,
        )
        continued.append(tokenizer.decode(generated[0].tolist()))
    write_text(args.output, "\n----\n".join(continued) + "\n")


if __name__ == "__main__":
    run_program(main)
