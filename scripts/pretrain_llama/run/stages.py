"""The stages of a training: stretches in which only a part of the weights is trained, at a rate of their own.

People who add a language's pieces to a vocabulary first train the rows that are new, then embedding and output layer,
then all weights (arXiv 2304.08177; EEVE, arXiv 2402.14714, has seven stages). A stage begins with the weights of the
one before, an optimizer that knows nothing, and a warm-up. In the ledger, each is a phase.
"""

from dataclasses import dataclass
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.errors import ConfigError
from pretrain_llama.settings import ParallelSettings, TrainingSettings

NEW_ROWS, EMBEDDINGS, ALL = "new_rows", "embeddings", "all"
WHOLE = {"iteration": 0, "trains": ALL}  # the stage of a training without stages, and of versions before 0.4


@dataclass(frozen=True)
class Stage:
    """A stretch of a training.

    Attributes:
        begin, end: optimizer steps of the whole training before it, and with it.
        trains: what of the weights.
        is_last: nothing comes after it.
    """

    begin: int
    end: int
    trains: str
    learning_rate: float
    warmup_iterations: int
    is_last: bool

    @property
    def mark(self) -> dict[str, Any]:
        """What a checkpoint and a phase say of it; an optimizer of another mark knows nothing of this stage."""
        return {"iteration": self.begin, "trains": self.trains}

    def applied(self, training: TrainingSettings) -> TrainingSettings:
        """Return the hyperparameters with what the stage has of its own."""
        own = training.copy()
        own["learning_rate"], own["warmup_iterations"] = self.learning_rate, self.warmup_iterations
        return own


def stages(training: TrainingSettings) -> list[Stage]:
    """Return the stages of a training; one that names none is a single one, of all weights."""
    if not training["stages"]:
        rate, warmup = training["learning_rate"], training["warmup_iterations"]
        return [Stage(0, training["iterations"], ALL, rate, warmup, True)]
    found: list[Stage] = []
    for stage in training["stages"]:
        begin = found[-1].end if found else 0
        end, warmup = begin + stage["iterations"], stage.get("warmup_iterations", 0)
        is_last = len(found) + 1 == len(training["stages"])
        found.append(Stage(begin, end, stage["trains"], stage["learning_rate"], warmup, is_last))
    return found


def stage_after(training: TrainingSettings, iteration: int) -> Stage:
    """Return the stage of the step that comes after so many; after the last step, the last stage."""
    return next((stage for stage in stages(training) if iteration < stage.end), stages(training)[-1])


def identified(training: TrainingSettings, iteration: int, identity: dict[str, Any]) -> dict[str, Any]:
    """Return the identity of the phase that goes on after an iteration: the run's, and its stage where it has any."""
    return identity | ({"stage": stage_after(training, iteration).mark} if training["stages"] else {})


def check_stages(
    training: TrainingSettings, parallel: ParallelSettings, architecture: Architecture, where: str
) -> None:
    """Check the stages of a run, and what it says of rows that are new.

    Args:
        training, parallel: of run.yaml.
        architecture: of the checkpoint that the run starts from.
        where: path of run.yaml.

    Raises:
        ConfigError: they do not fit the run.
    """
    _check_new_rows(training, architecture, f"{where}: training")
    where = f"{where}: training.stages"
    if not training["stages"]:
        return
    found = stages(training)
    if found[-1].end != training["iterations"]:
        raise ConfigError(
            f"the stages have {found[-1].end} iterations, the training has {training['iterations']}",
            where=where,
            action=f"set training.iterations: {found[-1].end}, or change those of a stage",
        )
    for number, stage in enumerate(found, 1):
        _check_stage(stage, training, f"{where}, number {number}")
    if parallel["pipeline"] > 2 and any(stage.trains != ALL for stage in found):
        raise ConfigError(
            f"a stage trains the vocabulary's rows alone, of which {parallel['pipeline'] - 2} of the "
            f"{parallel['pipeline']} pipeline stages have none",
            where=f"{where}; parallel.pipeline",
            action="set pipeline to 1 or 2 until that stage has ended",
        )


def _check_stage(stage: Stage, training: TrainingSettings, where: str) -> None:
    length = stage.end - stage.begin
    falls = training.get("decay_iterations", 0) if stage.is_last else 0
    shaped = stage.warmup_iterations + falls
    if shaped > length or stage.warmup_iterations == length:
        raise ConfigError(
            f"{length} iterations do not hold {stage.warmup_iterations} of warm-up"
            + (f" and {falls} of decay" if falls else ", with some left at full rate"),
            where=where,
            action="make the stage longer, or warmup_iterations" + (" or decay_iterations" if falls else "") + " fewer",
        )
    if stage.learning_rate < training["min_learning_rate"]:
        raise ConfigError(
            f"learning_rate {stage.learning_rate} is below min_learning_rate {training['min_learning_rate']}",
            where=where,
            action="raise the one, or lower the other",
        )


def _check_new_rows(training: TrainingSettings, architecture: Architecture, where: str) -> None:
    first, needing = training["first_new_id"], []
    needing += ["a stage that trains new_rows"] * any(stage.trains == NEW_ROWS for stage in stages(training))
    needing += [f"new_rows_rate {training['new_rows_rate']:g}"] * (training["new_rows_rate"] != 1)
    if needing and first is None:
        raise ConfigError(
            f"{' and '.join(needing)} needs to know which rows are new",
            where=where,
            action='set first_new_id: the vocabulary\'s size before it was expanded, "from" in the conversion.json of '
            "the expanded checkpoint",
        )
    if first is not None and first >= architecture.vocab_size:
        raise ConfigError(
            f"first_new_id {first} is behind the last of the checkpoint's {architecture.vocab_size} ids",
            where=where,
            action="set the size that the vocabulary had before it was expanded, or start from the expanded checkpoint",
        )
