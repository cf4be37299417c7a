"""Run megatron-core on a torch without CUDA, by patching torch.cuda; does nothing where there is CUDA.

megatron-core 0.19.2 asks torch.cuda for devices, streams and random states, and writes device="cuda" and
"torch.cuda.FloatTensor" literally in its schedules, optimizers and checkpoints. `install` answers all of these with
the CPU: a dozen functions of torch.cuda are replaced, and a TorchFunctionMode rewrites the literals.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_installed: "CpuForCuda | None" = None


def install() -> None:
    """Make torch.cuda answer with the CPU, once and for the whole process; does nothing where CUDA is."""
    global _installed
    if torch.cuda.is_available() or _installed is not None:
        return
    for name, replacement in _CUDA_FUNCTIONS.items():
        setattr(torch.cuda, name, replacement)
    # Megatron's random tracker reads the default CUDA generators, which do not exist here.
    from megatron.core.tensor_parallel import random

    random._get_cuda_rng_state = lambda device="cuda", clone=False, graph_safe=False: torch.get_rng_state()
    random._set_cuda_rng_state = lambda state, device=-1, graph_safe=False: torch.set_rng_state(state)
    _installed = CpuForCuda()
    _installed.__enter__()


class NullStream:
    """A stream that has always just finished."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "NullStream":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def query(self) -> bool:
        return True

    def record_event(self, *_: object) -> "NullStream":
        return self

    def _do_nothing(self, *_: object) -> None:
        pass

    synchronize = wait_stream = wait_event = wait = record = _do_nothing


_CUDA_FUNCTIONS = {
    "current_device": lambda: torch.device("cpu"),
    "set_device": lambda device: None,
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "manual_seed": torch.manual_seed,
    "get_rng_state": lambda device="cuda": torch.get_rng_state(),
    "set_rng_state": lambda state, device="cuda": torch.set_rng_state(state),
    "get_device_properties": lambda device=None: SimpleNamespace(major=9, minor=0, name="cpu", multi_processor_count=1),
    "get_device_capability": lambda device=None: (9, 0),
    "memory_stats": lambda device=None: defaultdict(int),
    "current_stream": lambda device=None: NullStream(),
    "set_stream": lambda stream: None,
    "stream": lambda stream: NullStream(),
    "Stream": NullStream,
}


class CpuForCuda(TorchFunctionMode):
    """Rewrites device="cuda", .cuda(), .to("cuda"), pin_memory and the type strings of tensors."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = "cpu"
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], "cpu", *args[2:])
        result = func(*args, **kwargs)
        if func is torch.Tensor.type and isinstance(result, str):
            return result.replace("torch.", "torch.cuda.", 1)
        return result


def _is_cuda(device: object) -> bool:
    return (isinstance(device, str) and device.startswith("cuda")) or (
        isinstance(device, torch.device) and device.type == "cuda"
    )
