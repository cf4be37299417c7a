"""Say in words how far a run is."""

from pretrain_llama import stores
from pretrain_llama.run.account import Account
from pretrain_llama.run.evaluations import MARKER
from pretrain_llama.run.folder import FINISHED


def told(folder: str, account: Account) -> str:
    """Return how far a run is; iterations are optimizer steps.

    Args:
        folder: of the run, here or in a store.
        account: of its tokens.
    """
    loss = f"loss {account.steps[-1]['loss']:.3f}" if account.steps else "no loss is logged"
    if stores.read_small(f"{folder}/output/{FINISHED}") is not None:
        trained = f", trained on {account.trained:,} tokens" if account.steps else ""
        return f"finished, {account.iterations:,} iterations, {loss}{trained}"
    evaluating = stores.find_json(f"{folder}/output/{MARKER}")
    if not account.steps and not evaluating:
        return "ready to train"
    if evaluating:
        what = f"evaluating {evaluating['what']}, since {evaluating['since']}"
        if not account.steps:
            return f"{what}, before the first step"
        return f"iteration {account.iteration:,} of {account.iterations:,}, {loss}; {what}"
    done = f"iteration {account.iteration:,} of {account.iterations:,}"
    return f"{done}, {loss}, trained on {account.trained:,} of {account.trained_at_end:,} tokens"
