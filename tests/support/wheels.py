"""Wheels without contents, and package indexes of them in folders: what pip and uv choose among versions."""

import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel that any Python takes; name: as it is imported."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in (contents | {f"{info}/RECORD": record}).items():
            archive.writestr(path, content)
    return wheel


def make_index(folder: Path, *packages: str) -> str:
    """Write an index of wheels, given as name==version; return its URL."""
    for package in packages:
        name, _, version = package.partition("==")
        project = folder / name.replace("_", "-")
        make_wheel(project, name, version)
        links = [f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>' for wheel in project.glob("*.whl")]
        (project / "index.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>")
    return folder.as_uri()
