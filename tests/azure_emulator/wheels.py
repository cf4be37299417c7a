"""What the nodes' image brings along for pip.

Snakemake lets every task on a node begin with `pip install --target .snakemake/pip-deployments` of its storage
plugins, by name, without a version. An image that has them already points pip to wheels of its own, which hold
nothing: the plugins come from the image's own environment.
"""

import pkgutil
import zipfile
from pathlib import Path

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_empty_wheels(folder: Path) -> dict[str, str]:
    """Write a wheel without content for each storage plugin here; return the variables that lead pip to them alone."""
    folder.mkdir()
    plugins = [m.name for m in pkgutil.iter_modules() if m.name.startswith("snakemake_storage_plugin_")]
    for module in plugins:
        name, stem = module.replace("_", "-"), f"{module}-0"
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{stem}.dist-info/METADATA", METADATA.format(name=name))
            wheel.writestr(f"{stem}.dist-info/WHEEL", WHEEL)
            wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
