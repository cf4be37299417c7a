"""Check that transformers accepts a config.json, by building the model; importing it takes seconds."""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from pretrain_llama.checkpoints import mapping
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.config_file import CONFIG
from pretrain_llama.errors import ConfigError, listed, shortened, shown

GENERATION = "generation_config.json"


def check_with_transformers(folder: Path, architecture: Architecture) -> None:
    """Check that transformers builds a model of a folder's config.json, with the weights of an architecture.

    The model is built on torch's meta device, whose tensors have shapes and no memory.

    Raises:
        ConfigError: it refuses config.json or generation_config.json, with its reason; or builds other weights; or
            rotates otherwise.
    """
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            model = transformers.AutoModelForCausalLM.from_config(config)
        except Exception as error:  # of whichever kind its many checks raise
            raise _refused(error, folder / CONFIG) from error
        if (folder / GENERATION).exists():
            try:
                transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
            except Exception as error:
                raise _refused(error, folder / GENERATION) from error
    built = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    wanted = {part.name: part.shape for part in mapping.parts(architecture)}
    if built != wanted:
        differing = sorted(name for name in built.keys() | wanted.keys() if built.get(name) != wanted.get(name))
        raise ConfigError(
            f"transformers builds other weights of it: {listed(differing)}",
            where=folder / CONFIG,
            action="use a config.json that transformers wrote for this model",
        )
    _check_rotation(config, type(model.model.rotary_emb), architecture, folder / CONFIG)


def _check_rotation(config: Any, rotary_embedding: Any, a: Architecture, path: Path) -> None:
    """Check that transformers computes the same rotary frequencies from a config.json as we do."""
    scaling = {"rope_type": "llama3", **asdict(a.rope_scaling)} if a.rope_scaling else {"rope_type": "default"}
    understood = transformers.LlamaConfig(
        hidden_size=a.hidden_size,
        num_attention_heads=a.heads,
        num_key_value_heads=a.key_value_heads,
        head_dim=a.head_size,
        max_position_embeddings=a.max_positions,
        rope_parameters=scaling | {"rope_theta": a.rope_base},
    )
    theirs, ours = rotary_embedding(config), rotary_embedding(understood)
    equal = theirs.inv_freq.shape == ours.inv_freq.shape and torch.allclose(theirs.inv_freq, ours.inv_freq, 1e-6, 0)
    if not equal or theirs.attention_scaling != ours.attention_scaling:
        raise ConfigError(
            f"transformers {transformers.__version__} rotates by it otherwise than by a base of {a.rope_base:g} and "
            f"{'the scaling ' + shown(scaling) if a.rope_scaling else 'no scaling'}, as it was understood",
            where=path,
            action="use a config.json that transformers wrote for this model",
        )


def _refused(error: Exception, path: Path) -> ConfigError:
    return ConfigError(
        f"transformers {transformers.__version__} refuses it: {type(error).__name__}, {shortened(str(error))}",
        where=path,
        action="correct the key that it names, or use the file that transformers wrote with the model",
    )
