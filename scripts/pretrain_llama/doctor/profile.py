"""Read from a Snakemake profile the machines and the image that a run asks the Batch account for."""

import os
from dataclasses import dataclass
from pathlib import Path

from pretrain_llama.checklist import Failed, Passed, Unknown

PREFIX = "azurebatch-pool-"


@dataclass(frozen=True)
class Pool:
    """The pools that a run creates: for each size up to `nodes` dedicated and `spot_nodes` spot ones, of an image."""

    vm_sizes: list[str]
    nodes: int
    spot_nodes: int
    publisher: str
    offer: str
    sku: str
    node_agent: str

    @property
    def image(self) -> str:
        """The machine's image, in words."""
        return f"{self.publisher} {self.offer} {self.sku}"


def read_profile(path: Path) -> Passed:
    """Read the pools from a Snakemake profile; what it leaves out is the executor's default.

    Raises:
        Unknown: there is no such file.
        Failed: it does not describe a pool.
    """
    import yaml
    from snakemake_executor_plugin_azurebatch import ExecutorSettings

    if not path.is_file():
        raise Unknown("there is no such file", "name the profile that you run with: --profile FILE")
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8"))
        given = {name.removeprefix(PREFIX).replace("-", "_"): value for name, value in profile.items()}
        defaults = ExecutorSettings()

        def setting(name: str) -> str:
            return os.path.expandvars(str(given.get(name, getattr(defaults, f"pool_{name}"))))

        publisher, offer, sku = (setting(f"image_{part}") for part in ("publisher", "offer", "sku"))
        resources = [profile.get("default-resources") or {}, *(profile.get("set-resources") or {}).values()]
        sizes = [setting("vm_size"), *(os.path.expandvars(rule["vm_size"]) for rule in resources if "vm_size" in rule)]
        nodes, spot = int(setting("node_count")), int(setting("spot_node_count"))
        agent = setting("vm_node_agent_sku_id")
        pool = Pool(list(dict.fromkeys(sizes)), nodes, spot, publisher, offer, sku, agent)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise Failed(f"it describes no pool ({type(error).__name__})", "correct its azurebatch-pool-… keys") from error
    also = f" and {pool.spot_nodes} spot nodes" if pool.spot_nodes else ""
    return Passed(f"up to {pool.nodes} nodes{also} of {' and of '.join(pool.vm_sizes)}, from {pool.image}", pool)
