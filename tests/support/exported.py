"""Evaluate what a training exports by transformers."""

import json
from pathlib import Path

import sentencepiece
import torch

from sampled import BOS, EOS, NEW_TOKENS, PROMPTS


def evaluate_with_transformers(folder: Path, exported: Path) -> None:
    """Export the newest checkpoint, and print the loss of each validation set by transformers."""
    from transformers import LlamaForCausalLM

    from llamas import export
    from pretrain_llama.run.folder import open_run_folder
    from pretrain_llama.training.data.training_data import open_validation

    export(folder / "output" / "checkpoints", folder / "checkpoint", exported)
    model = LlamaForCausalLM.from_pretrained(exported, dtype=torch.float32)
    losses = {}
    for name, sequences in open_validation(open_run_folder(folder)).items():
        items = [sequences[number] for number in range(len(sequences))]
        tokens, labels, counted = (
            torch.stack([item[key] for item in items]) for key in ("tokens", "labels", "loss_mask")
        )
        with torch.no_grad():
            lost = torch.nn.functional.cross_entropy(model(tokens).logits.transpose(1, 2), labels, reduction="none")
        losses[name] = ((lost * counted).sum() / counted.sum()).item()
    print(f"losses: {json.dumps(losses)}", flush=True)
    encoder = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    continued = []
    for prompt in PROMPTS:
        ids = torch.tensor([[BOS, *encoder.encode(prompt)]])
        greedy = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=EOS, pad_token_id=EOS)
        continued.append(encoder.decode(greedy[0].tolist()))
    print(f"samples: {json.dumps(continued)}", flush=True)
