"""Let an exported model continue prompts, greedily, through transformers.

python scripts/sample_text.py --model results/runs/demo/export/final --run config/runs/demo --output sample.txt
"""

import argparse
from pathlib import Path

from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.files import write_text
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.texts import Texts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder with tokenizer.model or .json")
    parser.add_argument("--run", type=Path, required=True, help="folder of run.yaml, which holds the prompts")
    parser.add_argument("--output", type=Path, required=True, help="text file to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    files = [path for name in ("tokenizer.model", "tokenizer.json") if (path := args.model / name).exists()]
    if not files:
        raise ConfigError("no tokenizer.model, no tokenizer.json", where=args.model, action="give an exported folder")
    import torch
    from transformers import LlamaForCausalLM

    sample = load_run(args.run)["sample"]
    tokenizer = load_reference(files[0])
    model = LlamaForCausalLM.from_pretrained(args.model).eval()
    continued = []
    for prompt in sample["prompts"]:
        ids, _ = tokenizer.encode(Texts.of([prompt.encode()]))
        tokens = torch.tensor([[model.config.bos_token_id, *ids.tolist()]])
        generated = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=sample["new_tokens"],
            do_sample=False,
            pad_token_id=0,
        )
        continued.append(tokenizer.decode(generated[0].tolist()))
    write_text(args.output, "\n----\n".join(continued) + "\n")


if __name__ == "__main__":
    run_program(main)
