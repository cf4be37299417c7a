"""Run Megatron-LM's trainer on a torch without CUDA, for tests alone; does nothing where there is CUDA.

Beyond training/cpu.py, which answers megatron-core, megatron.training 0.19.2 imports triton, wants CUDA before it
begins, counts devices, asks for memory and events, and pins what it loads.
"""

import sys
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any
from unittest.mock import MagicMock

import torch
import torch._inductor.compile_fx  # before it could see what replaces triton

from pretrain_llama.training import cpu

if find_spec("triton") is None:
    for _name in ("triton", "triton.language"):
        sys.modules[_name] = MagicMock(__path__=[], __version__="3.4.0", __spec__=ModuleSpec(_name, None))


def install() -> None:
    """Answer Megatron-LM with the CPU, for the whole process; says so."""
    if torch.cuda.is_available():
        return
    print("WARNING: no GPU: Megatron-LM trains on the CPU, which is for tests alone", flush=True)
    cpu.install()
    answers: dict[str, Any] = dict.fromkeys(NOTHING, lambda *_, **__: 0)
    answers |= {"Event": _Event, "device_count": lambda: 8, "get_device_name": lambda *_: "cpu", "nvtx": MagicMock()}
    answers |= {name: partial(_tensor, dtype) for name, dtype in TENSORS.items()}
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    setattr(torch.nn.Module, "cuda", lambda self, device=None: self)  # noqa: B010 (mypy knows it as a method)
    loader = torch.utils.data.DataLoader.__init__

    def unpinned(self: Any, *args: Any, **named: Any) -> None:
        loader(self, *args, **named | {"pin_memory": False})

    setattr(torch.utils.data.DataLoader, "__init__", unpinned)  # noqa: B010
    from megatron.training import training

    training.initialize_megatron = partial(training.initialize_megatron, allow_no_cuda=True)


NOTHING = (
    "memory_allocated",
    "max_memory_allocated",
    "memory_reserved",
    "max_memory_reserved",
    "reset_peak_memory_stats",
    "ipc_collect",
)
TENSORS = {
    "FloatTensor": torch.float32,
    "DoubleTensor": torch.float64,
    "LongTensor": torch.int64,
    "IntTensor": torch.int32,
    "ByteTensor": torch.uint8,
    "BFloat16Tensor": torch.bfloat16,
    "HalfTensor": torch.float16,
}


def _tensor(dtype: torch.dtype, values: Any = ()) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


class _Event(cpu.NullStream):
    def query(self) -> bool:
        return True

    def elapsed_time(self, _: object) -> float:
        return 1.0
