"""The workflow on Azure Batch, with its data in Blob Storage: the real plugins and SDKs against emulated Azure."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from azure_emulator.service import CONTAINER, EmulatedAzure
from project import ROOT, Project

# What differs from profiles/azure-batch: the emulator has few slots, and a test does not wait 20 s for a status.
TEST_OPTIONS = ["--seconds-between-status-checks", "1", "--azure-batch-pool-vm-size", "Standard_D2ds_v5"]
TEST_OPTIONS += ["--azure-batch-pool-node-count", "2", "--set-threads", "tokenize_shard=1"]


class AzureProject(Project):
    """A clone of its own, whose vendor files are blobs, run with the profile azure-batch."""

    def __init__(self, folder: Path, tokenizer: Path, llama: Path, azure: EmulatedAzure) -> None:
        super().__init__(folder, tokenizer, llama)
        self.azure = azure
        for name in ("Snakefile", "rules", "scripts", "profiles", "envs", "config/schemas"):
            (folder / name).unlink()
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        (folder / "azure-batch").symlink_to("profiles/azure-batch")
        for path in (folder / "vendor").rglob("*.jsonl"):
            self.vendor(str(path.relative_to(folder / "vendor")), path.read_bytes())
        self.corpora(
            ["en", "books", "tales", "az://vendor/en_books_tales/*", "text"],
            ["ar", "news", "daily", "az://vendor/ar_news_daily/*", "text"],
        )
        subprocess.run("git init -q && git add -A", shell=True, cwd=folder, check=True)

    def vendor(self, name: str, content: bytes) -> Path:
        if hasattr(self, "azure"):
            with self.azure.azurite.client() as client:
                client.get_blob_client("vendor", name).upload_blob(content, overwrite=True)
        return super().vendor(name, content)

    def snakemake(self, *args: str):
        return super().snakemake(*args, "--profile", "azure-batch", *TEST_OPTIONS)

    def blobs(self) -> dict[str, bytes]:
        """What lies in the store, by name below the prefix."""
        with self.azure.azurite.client() as client:
            container = client.get_container_client(CONTAINER)
            names = [name for name in container.list_blob_names() if name.startswith("pretrain/results/")]
            return {n.removeprefix("pretrain/"): container.download_blob(n).readall() for n in names}


@pytest.fixture
def azure_project(tmp_path: Path, tokenizer_model: Path, llama: Path, azure: EmulatedAzure) -> AzureProject:
    (tmp_path / "project").mkdir()
    return AzureProject(tmp_path / "project", tokenizer_model, llama, azure)


def test_the_store_holds_what_a_local_run_makes(azure_project: AzureProject, built: Project) -> None:
    assert azure_project.pending("mixture")["merge_shard"] == 4
    result = azure_project.snakemake("data", "mixture")
    assert result.returncode == 0, result.stdout + result.stderr
    blobs = azure_project.blobs()
    print(sorted(blobs))
    local = {
        str(p.relative_to(built.folder)): p.read_bytes() for p in (built.folder / "results").rglob("*") if p.is_file()
    }
    same = [n for n in blobs if n.endswith((".jsonl", ".bin", ".idx", "data_signature.json", "probabilities.json"))]
    assert len(same) > 20
    for name in same:
        assert blobs[name] == local[name], name
    assert json.loads(blobs[next(n for n in blobs if n.endswith("conservation.json"))])["total"]["documents"] == 400
