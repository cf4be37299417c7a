"""Open the weights of a Llama, in whichever format a folder holds them."""

from pathlib import Path

from pretrain_llama.checkpoints import huggingface, megatron_torch, torch_dist, torch_files
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.huggingface import HuggingFaceTensors
from pretrain_llama.checkpoints.megatron_args import check_args
from pretrain_llama.checkpoints.megatron_torch import MegatronTorchTensors
from pretrain_llama.checkpoints.torch_dist import TorchDistTensors
from pretrain_llama.errors import OperatorError

AnyTensors = HuggingFaceTensors | TorchDistTensors | MegatronTorchTensors


def open_tensors(folder: str | Path, architecture: Architecture) -> AnyTensors:
    """Return the tensors of a folder: safetensors, a Megatron checkpoint, or a folder of these, of which the newest.

    Raises:
        OperatorError: it holds none of these, or a Megatron checkpoint that is not whole.
        ConfigError, DataError: the weights are not those of the architecture, or damaged.
    """
    folder = Path(folder)
    if any((folder / name).exists() for name in (huggingface.WHOLE, huggingface.INDEX)):
        return HuggingFaceTensors(folder, architecture)
    newest = torch_dist.latest(folder) or folder
    if megatron_torch.is_checkpoint(newest):
        return MegatronTorchTensors(newest, architecture)
    if newest == folder and not (newest / torch_dist.METADATA).exists():
        raise OperatorError(
            f"no weights: no {huggingface.WHOLE}, no {huggingface.INDEX}, no {torch_dist.TRACKER}, no "
            f"{torch_dist.METADATA}, no mp_rank_00",
            where=folder,
            action="give the folder of Megatron's checkpoints, or of a Hugging Face model in safetensors; of a "
            "pytorch_model.bin, transformers' save_pretrained writes them",
        )
    tensors = TorchDistTensors(newest, architecture)
    common = newest / "common.pt"
    if common.exists():
        check_args(torch_files.load(common).get("args"), architecture, common)
    return tensors
