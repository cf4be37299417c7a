"""Make a tiny Hugging Face Llama with random weights and grouped-query attention.

python demo/make_llama.py --vocab-size 8000 --output resources/demo/llama
"""

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab-size", type=int, default=8000, help="rows of the embedding")
    parser.add_argument("--hidden-size", type=int, default=128, help="channels")
    parser.add_argument("--layers", type=int, default=4, help="transformer layers")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=args.vocab_size,
        hidden_size=args.hidden_size,
        intermediate_size=args.hidden_size * 11 // 4,
        num_hidden_layers=args.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(args.output)


if __name__ == "__main__":
    main()
