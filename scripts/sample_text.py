"""Let an exported model continue prompts, greedily, through transformers.

python scripts/sample_text.py --model results/runs/demo/huggingface --run config/runs/demo --output sample.txt
"""

import argparse
from pathlib import Path

from pretrain_llama.configuration import load_run
from pretrain_llama.errors import run_program
from pretrain_llama.files import write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder with tokenizer.model")
    parser.add_argument("--run", type=Path, required=True, help="folder of run.yaml, which holds the prompts")
    parser.add_argument("--output", type=Path, required=True, help="text file to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import sentencepiece
    import torch
    from transformers import LlamaForCausalLM

    sample = load_run(args.run)["sample"]
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
    model = LlamaForCausalLM.from_pretrained(args.model).eval()
    continued = []
    for prompt in sample["prompts"]:
        tokens = torch.tensor([[tokenizer.bos_id(), *tokenizer.encode(prompt)]])
        generated = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=sample["new_tokens"],
            do_sample=False,
            eos_token_id=tokenizer.eos_id(),
            pad_token_id=tokenizer.eos_id(),
        )
        continued.append(tokenizer.decode(generated[0].tolist()))
    write_text(args.output, "\n----\n".join(continued) + "\n")


if __name__ == "__main__":
    run_program(main)
