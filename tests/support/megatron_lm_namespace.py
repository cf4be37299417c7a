"""The arguments of Megatron-LM's own parser, with their defaults; runs where there is no GPU and no triton.

    python tests/support/megatron_lm_namespace.py CHECKOUT > defaults.json

tests/data/megatron_lm/arguments.tsv was made so, of core_v0.16.1, core_v0.19.0 and main of 2026-11 (d98e8a64dd); its
column "older" has the other names that arguments have, or that are set beside them, in the sources of core_v0.4.0 to
core_v0.19.0 and of v2.5, v2.6, 23.04 and 23.06.
"""

import argparse
import json
import sys
import typing
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

import torch._inductor.compile_fx  # noqa: F401  before it could see what is put in the place of triton
import typing_extensions


def defaults(checkout: str) -> dict[str, object]:
    """Return the default of each argument; of those that are no JSON, as text."""
    typing.override = typing_extensions.override  # of Python 3.12
    for name in ("triton", "triton.language"):
        sys.modules[name] = MagicMock(__path__=[], __version__="3.4.0", __spec__=ModuleSpec(name, None))
    sys.path.insert(0, checkout)
    from megatron.training.arguments import add_megatron_arguments

    parser = add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False))
    found = {action.dest: action.default for action in parser._actions if action.dest != "help"} | parser._defaults
    return json.loads(json.dumps(found, default=str))


if __name__ == "__main__":
    print(json.dumps(defaults(sys.argv[1])))
