"""Write a run folder's README.md: how to reproduce the run, and what the folder holds."""

from pretrain_llama.launch.layout import Layout
from pretrain_llama.launch.megatron_lm import FILE
from pretrain_llama.settings import RunSettings


def text(name: str, run: RunSettings, no_megatron_lm: str | None) -> str:
    """Return README.md.

    Args:
        name: of the run.
        run: run.yaml.
        no_megatron_lm: why Megatron-LM cannot train the run; None where it can.
    """
    parallel, training, layout = run["parallel"], run["training"], Layout.of(run)
    return TEXT.format(
        name=name,
        iterations=training["iterations"],
        batch=training["global_batch_size_sequences"],
        length=training["sequence_length_tokens"],
        checkpoint=run["checkpoint"],
        processes=layout.nodes * layout.processes_per_node,
        nodes=layout.nodes,
        megatron_lm=f"not at all, for {no_megatron_lm}" if no_megatron_lm else f"`{FILE}` says how",
        **{key: parallel[key] for key in ("tensor", "pipeline", "data")},
    )


TEXT = """\
# Run {name}

{iterations:,} iterations of {batch:,} sequences of {length:,} tokens, from the checkpoint {checkpoint}; {processes} \
processes (tensor {tensor} x pipeline {pipeline} x data {data}) on {nodes} nodes.

## To reproduce it

With Python 3.12 and the packages of `sources/requirements.lock`, or in the image of `environment/Dockerfile`, in this \
folder or a copy of it:

```bash
python code/scripts/verify_run.py .    # is everything as it was? add --full to read every shard
bash launch.sh                         # train, on this machine; the same command resumes
```

On Slurm: `sbatch launch.sbatch`. On Azure Machine Learning: `python code/scripts/submit_training.py . --launcher \
azureml`, or `az ml job create --file job.yaml`. With Megatron-LM: {megatron_lm}. How large and \
how long: `python code/scripts/estimate_run.py .`.

## What is here

| what | is |
|---|---|
| `run.yaml` | the run, every default written out |
| `manifest.json` | SHA-256 of the files, sizes, versions, git commit |
| `sources/` | what a person decided: rates, language probability, exclude list, configuration, corpora; the data \
signature, the lock of packages, and what was changed since the git commit; `plan/`, the vendor files of each shard, \
and `conservation.json`, what became of their lines |
| `mixture/` | the selection probabilities that follow from them |
| `data/`, `validation/` | the shards, `.bin` and `.idx`; held-out sets, if the run has some |
| `checkpoint/` | the converted weights, with their passport, `conversion.json` |
| `tokenizer.model` or `.json` | that the shards were made with |
| `huggingface/` | the small files of an export: config, tokenizer as transformers reads it, what was changed |
| `code/` | the programs, as they were |
| `environment/` | what an image is built from, every package pinned |
| `launch.sh`, `launch.sbatch`, `job.yaml` | start it: here, on Slurm, on Azure Machine Learning |
| `output/` | what the training writes |
"""
