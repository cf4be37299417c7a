"""What makes a step faster on a GPU: chosen as meant, recorded, and equal to what it replaces."""

import os
from pathlib import Path

import pytest
import torch
from megatron.core.tensor_parallel import layers
from torch.nn.attention import SDPBackend

from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.run.history import History
from pretrain_llama.settings import ParallelSettings
from pretrain_llama.training import attention, weight_gradients
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.processes import process_groups, seed_everything
from pretrain_llama.training.step import wrap_model
from pretrain_llama.training.watching import Clock, Tracer
from project import run_script
from trainings import Training

CUDNN, FLASH = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
EFFICIENT, MATH = SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH
PARALLEL: ParallelSettings = {
    "tensor": 1,
    "pipeline": 1,
    "data": 1,
    "sequence": False,
    "distributed_optimizer": False,
    "overlap": True,
    "recompute": "none",
}


@pytest.mark.parametrize(
    ("capability", "has_mask", "deterministic", "order"),
    [
        (9, False, False, [CUDNN, FLASH, EFFICIENT, MATH]),
        (10, False, False, [CUDNN, FLASH, EFFICIENT, MATH]),
        (8, False, False, [FLASH, EFFICIENT, MATH]),
        (9, True, False, [CUDNN, EFFICIENT, MATH]),
        (8, True, False, [EFFICIENT, MATH]),
        (9, False, True, [FLASH, MATH]),
        (8, True, True, [MATH]),
        (None, False, False, [FLASH, EFFICIENT, MATH]),
        (None, True, False, [FLASH, EFFICIENT, MATH]),
    ],
)
def test_attention_asks_for_the_fastest_kernel_of_the_gpu(
    capability: int | None, has_mask: bool, deterministic: bool, order: list[SDPBackend]
) -> None:
    assert attention.kernels(capability, has_mask, deterministic) == order


@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_attention_is_what_its_formula_says(llama: Path, has_mask: bool, deterministic: bool) -> None:
    with process_groups(1, 1, "a test"):
        config = transformer_config(read_architecture(llama), "fp32", deterministic=deterministic)
        torch.manual_seed(1)
        query, key, value = (torch.randn(16, 2, heads, 8) for heads in (4, 2, 2))
        documents = torch.arange(16).expand(2, 16) // 5
        mask = attention.document_mask(documents, torch.float32) if has_mask else None
        found = attention.Attention(config)(query, key, value, mask)
    key, value = (part.repeat_interleave(2, 2) for part in (key, value))
    scores = torch.einsum("qbhd,kbhd->bhqk", query, key) / 8**0.5
    seen = torch.ones(16, 16).tril().bool()
    if has_mask:
        seen = seen & (documents[:, None, :, None] == documents[:, None, None, :])
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    wanted = torch.einsum("bhqk,kbhd->qbhd", weights, value).flatten(2)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_weight_gradients_are_accumulated_in_fp32(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU does, with torch in the place of Apex's kernel: equal in fp32, and closer to it in bf16."""
    monkeypatch.setattr(layers, "_grad_accum_fusion_available", layers._grad_accum_fusion_available)
    monkeypatch.setattr(layers, "fused_weight_gradient_mlp_cuda", None, raising=False)
    with process_groups(1, 1, "a test"):
        exact, same = (gradients(llama, "fp32", fused) for fused in (False, True))
        assert difference(same, exact) < 1e-6
        plain, fused = (gradients(llama, "bf16", fused) for fused in (False, True))
    assert 0 < difference(fused, exact) < difference(plain, exact)


def gradients(llama: Path, precision: str, fused: bool) -> torch.Tensor:
    """The gradients of sixteen micro batches, flat."""
    if fused:
        weight_gradients.install()
    architecture = read_architecture(llama)
    seed_everything(1)
    config = transformer_config(architecture, precision)
    config.gradient_accumulation_fusion = fused
    model = build_model(architecture, config, 32)
    wrapped = wrap_model(model, config, PARALLEL)
    wrapped.zero_grad_buffer()
    positions = torch.arange(32).expand(2, -1)
    for _ in range(16):
        tokens = torch.randint(0, 400, (2, 33))
        loss = wrapped(tokens[:, :-1].contiguous(), positions, None, labels=tokens[:, 1:].contiguous())
        loss.mean().div(16).backward()
    return torch.cat([parameter.main_grad.float().flatten() for parameter in model.parameters()])


def difference(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()


def test_a_machine_without_a_gpu_accumulates_as_before() -> None:
    if not layers._grad_accum_fusion_available:
        assert not weight_gradients.can_accumulate()


def test_a_start_records_how_it_computes(training: Training) -> None:
    (started,) = History(training.output).events("started")
    wanted = {"attention": "flash, efficient, math", "weight_gradients": "fp32"}
    assert started["computing"] == wanted | {"overlap": "false", "deterministic": "false"}


# Says what torch would find, in place of torch, which takes seconds.
ASKED = """
import os, sys
class Torch:
    def find_spec(name, *_):
        if name == "torch":
            names = ("CUDA_DEVICE_MAX_CONNECTIONS", "CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO")
            sys.exit(f"asked with {[os.environ.get(name) for name in names]}")
sys.meta_path.insert(0, Torch)
"""


@pytest.mark.parametrize(
    ("given", "deterministic", "told"),
    [(None, False, ["1", None, None]), ("8", False, ["8", None, None]), (None, True, ["1", ":4096:8", "Ring"])],
)
def test_cuda_is_told_before_torch_is_imported(
    training: Training,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    deterministic: bool,
    told: list[str | None],
) -> None:
    copy = training.copied(tmp_path / "run", operation={"deterministic": deterministic})
    (tmp_path / "sitecustomize.py").write_text(ASKED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    for name in ("CUDA_DEVICE_MAX_CONNECTIONS", "CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO"):
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", given)
    assert run_script("train.py", copy.folder).stderr.endswith(f"asked with {told}\n")


def test_a_trace_and_the_slowest_process_are_written(training: Training, tmp_path: Path) -> None:
    traced = {"profile": {"iterations": [2, 3], "ranks": [1]}, "log_every_iterations": 2, "deterministic": True}
    copy = training.copied(tmp_path / "run", parallel={"data": 2}, training={"iterations": 4}, operation=traced)
    printed = copy.train()
    assert printed.count("until gradients were ready: rank ") == 2
    (trace,) = (copy.output / "profile").iterdir()
    assert trace.name.startswith("rank_00001.") and trace.name.endswith(".pt.trace.json")
    assert "aten::mm" in trace.read_text()
    assert copy.losses()[:3] == pytest.approx(training.losses()[:3], abs=1e-6), "the schedule is another one"


def test_a_process_that_is_not_named_traces_nothing(tmp_path: Path) -> None:
    for settings in (None, {"iterations": [1, 1], "ranks": [3]}):
        tracer = Tracer(settings, 0, tmp_path)  # type: ignore[arg-type]
        tracer.begin(1)
        tracer.end(1)
    assert not list(tmp_path.iterdir())


def test_the_clock_names_ranks() -> None:
    with process_groups(1, 1, "a test"):
        clock = Clock()
        clock.begin()
        clock.ready()
        assert clock.slowest_and_fastest().startswith(
            "until gradients were ready: rank 0 took 0.000 s, the slowest; ra"
        )
