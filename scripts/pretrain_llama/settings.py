"""The keys of the configuration, as mypy reads them: made by `make reference` from config/schemas/."""

from typing import Any, Literal, NotRequired, TypedDict


class TokenizerSettings(TypedDict):
    """The keys of tokenizer."""

    model: str
    prepend_bos: bool
    append_eos: bool
    bos_token: NotRequired[str]
    eos_token: NotRequired[str]


class ExpansionSettings(TypedDict):
    """An expansion has either languages and new_pieces, to train on, or pieces, a list."""

    tokenizer: str
    languages: NotRequired[list[str]]
    new_pieces: NotRequired[int]
    unchanged_languages: NotRequired[list[str]]
    pieces: NotRequired[str]
    sample_bytes_per_corpus: int
    new_rows: Literal["mean_of_pieces", "mean", "zero"]


class ConversionSettings(TypedDict):
    """How checkpoints are converted to Megatron's."""

    vocab_multiple: int
    padding_rows: Literal["mean", "zero"]
    accept_arguments: dict[str, list[str]]


class ConfigSettings(TypedDict):
    """What config/config.yaml holds."""

    corpora: str
    shard_size_bytes: int
    duplicates: Literal["refuse", "allow"]
    duplicate_documents: Literal["count", "drop", "off"]
    duplicates_memory_bytes: int
    max_rejected_fraction: float
    max_rejected_lines: int
    max_rejected_bytes: int
    max_line_bytes: int
    held_out_fraction: float
    on_engine_difference: Literal["fallback", "fail"]
    tokenizers: dict[str, TokenizerSettings]
    checkpoints: dict[str, str]
    expansions: dict[str, ExpansionSettings]
    conversion: ConversionSettings
    runs: list[str]
    listing: NotRequired[str]
    estimate: NotRequired[str | dict[str, Any]]


class NodeSettings(TypedDict):
    """The keys of node."""

    cores: int
    tasks: int
    network_mb_per_second: float


class RatesSettings(TypedDict):
    """The keys of rates."""

    tokenize_mb_per_second_per_core: float
    decompress_mb_per_second_per_core: float
    copy_mb_per_second_per_task: float
    start_seconds: float
    start_here_seconds: float
    request_seconds: float


class RatiosSettings(TypedDict):
    """The keys of ratios."""

    gz: float
    zst: float
    parquet: float
    indexed_per_jsonl: float


class PricesSettings(TypedDict):
    """The operator's price sheet."""

    currency: str
    node_hour: float
    spot_node_hour: NotRequired[float]
    per_10000_writes: float
    per_10000_reads: float
    gb_month: float


class EstimateSettings(TypedDict):
    """Rates and prices that scripts/estimate_plan.py computes with; MB are 10**6 bytes, GB 10**9."""

    node: NodeSettings
    rates: RatesSettings
    ratios: RatiosSettings
    prices: PricesSettings


class WeightingSettings(TypedDict):
    """Either temperature or unimax: a number."""

    temperature: NotRequired[float]
    unimax: NotRequired[float]


class MixtureSettings(TypedDict):
    """How the probabilities come from data_ratio, lang_prob and exclude_iterator."""

    omissions: Literal["error", "list"]
    max_epochs: NotRequired[float | dict[str, Any]]
    min_probability: float
    weighting: dict[str, WeightingSettings]


class MegatronLmSettings(TypedDict):
    """What is said to the trainer megatron_lm alone. All of it may change whenever the run resumes."""

    arguments: dict[str, bool | float | str | list[float | str]]


class ParallelSettings(TypedDict):
    """How the work is cut. All of it may change whenever the run resumes."""

    tensor: int
    pipeline: int
    data: int
    sequence: bool
    distributed_optimizer: bool
    overlap: bool
    recompute: Literal["none", "selective", "full"]


class BatchSizeRampupSettings(TypedDict):
    """Let the global batch grow to its size in equal steps, as Megatron-LM's --rampup-batch-size."""

    start_sequences: int
    increment_sequences: int
    length_sequences: int


class StageSettings(TypedDict):
    """The keys of stage."""

    iterations: int
    trains: Literal["new_rows", "embeddings", "all"]
    learning_rate: float
    warmup_iterations: NotRequired[int]


class TrainingSettings(TypedDict):
    """What makes the run. Only micro_batch_size_sequences may change when it resumes."""

    iterations: int
    sequence_length_tokens: int
    micro_batch_size_sequences: int
    global_batch_size_sequences: int
    batch_size_rampup: BatchSizeRampupSettings | None
    reset_attention_mask: bool
    precision: Literal["fp32", "bf16"]
    learning_rate: float
    min_learning_rate: float
    schedule: Literal["cosine", "constant", "wsd"]
    warmup_iterations: int
    decay_iterations: NotRequired[int]
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    gradient_clip_norm: float
    stages: list[StageSettings]
    first_new_id: int | None
    new_rows_rate: float
    seed: int


class HooksSettings(TypedDict):
    """What to do with the model now and then, while its training goes on; null is nothing. Its files are in
    output/hooks/, and its failure does not stop the training.
    """

    every_iterations: int
    command: str
    time_limit_seconds: float
    keep_export: bool


class ProfileSettings(TypedDict):
    """Trace some iterations, for TensorBoard and Perfetto; null is none."""

    iterations: list[int]
    ranks: list[int]


class OperationSettings(TypedDict):
    """How the training is run and watched. All of it may change whenever the run resumes."""

    checkpoint_every_iterations: int
    keep_last_checkpoints: int | None
    keep_every_iterations: int | None
    save_in_background: bool
    log_every_iterations: int
    evaluate_every_iterations: int
    evaluation_sequences: int | None
    time_limit_seconds: float | None
    hooks: HooksSettings | None
    profile: ProfileSettings | None
    deterministic: bool
    data_cache: Literal["run", "node"]
    on_not_finite: Literal["stop", "skip", "rewind"]
    on_spike: Literal["ignore", "stop", "skip", "rewind"]
    spike_deviations: float
    anomaly_limit: int


class SlurmSettings(TypedDict):
    """What the job asks Slurm for."""

    partition: str | None
    account: str | None
    gpus: bool
    cpus_per_process: int
    memory_mb_per_node: int | None
    time_limit_minutes: int
    save_seconds: int


class AzuremlSettings(TypedDict):
    """What the job asks Azure Machine Learning for."""

    compute: str | None
    experiment: str
    environment: str | None
    data: str | None
    checkpoint: str | None
    output: str | None
    data_mode: Literal["ro_mount", "download"]
    shm_size: str
    identity: Literal["user", "managed"]
    environment_variables: dict[str, str]
    timeout_hours: float | None


class LaunchSettings(TypedDict):
    """Where the training is started, and with what. All of it may change whenever the run resumes."""

    launcher: Literal["local", "slurm", "azureml"]
    processes_per_node: int | None
    restarts: int
    slurm: SlurmSettings
    azureml: AzuremlSettings


class SampleSettings(TypedDict):
    """Prompts that the model continues, greedily, at each evaluation and when it is exported."""

    prompts: list[str]
    new_tokens: int


class RunSettings(TypedDict):
    """What config/runs/<run>/run.yaml holds."""

    tokenizer: str
    checkpoint: str
    mixture: MixtureSettings
    on_change: Literal["refuse", "restart", "new_phase"]
    trainer: Literal["pretrain_llama", "megatron_lm"]
    megatron_lm: MegatronLmSettings
    parallel: ParallelSettings
    training: TrainingSettings
    operation: OperationSettings
    launch: LaunchSettings
    sample: SampleSettings


class SweepSettings(TypedDict):
    """What config/sweeps/<sweep>.yaml holds."""

    run: str
    grid: dict[str, list[float | str | bool]]
