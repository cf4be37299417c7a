"""Group a training's scalars for TensorBoard's page of custom scalars."""

import re
from collections.abc import Collection

Layout = dict[
    str, dict[str, list[str | list[str]]]
]  # charts by category; a chart's kind, and regular expressions of tags


def layout(domains: Collection[str]) -> Layout:
    """Return the charts: losses, validation by language and domain, throughput, consumption.

    Args:
        domains: {language}_{domain} of what is trained and evaluated.
    """
    languages = sorted({name.split("_", 1)[0] for name in domains})
    kinds = sorted({name.split("_", 1)[1] for name in domains})
    validation = {"all": ["validation_loss/.*"]}
    validation |= {f"language {name}": [f"validation_loss/{re.escape(name)}_.*"] for name in languages}
    validation |= {f"domain {name}": [f"validation_loss/[^_]+_{re.escape(name)}"] for name in kinds}
    charts = {
        "losses": {
            "training and validation": ["training/loss", "validation_loss/.*"],
            "gradient norm": ["training/gradient_norm"],
            "learning rate": ["training/learning_rate"],
        },
        "validation": validation,
        "throughput": {
            "tokens a second": ["speed/tokens_per_second"],
            "MFU": ["speed/mfu"],
            "seconds of a step": ["speed/step_seconds"],
            "memory": ["memory/memory_bytes"],
        },
        "consumption": {
            "tokens consumed": ["consumed_tokens/.*"],
            "tokens trained on": ["trained_tokens/.*"],
            "epochs": ["epochs/.*"],
        },
    }
    return {group: {title: ["Multiline", tags] for title, tags in of.items()} for group, of in charts.items()}
