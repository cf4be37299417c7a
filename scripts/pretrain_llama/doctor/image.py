"""Check the container image of tasks: that its registry has it, and for which machines it was built."""

from typing import Any

from pretrain_llama.checklist import Failed, Passed, Report
from pretrain_llama.doctor.login import explain, status_and_code
from pretrain_llama.doctor.variables import PRIVATE_REGISTRIES, Settings

NODES = "linux/amd64"
BUILD = f"docker build --platform {NODES} --file envs/Dockerfile --tag $PRETRAIN_LLAMA_IMAGE ."


def check_image(report: Report, settings: Settings, login: Any) -> None:
    """Check the image in an Azure registry; images elsewhere are public, and not checked."""
    image = settings.image
    if image is not None and not image.partition("/")[0].endswith(PRIVATE_REGISTRIES):
        report.check("image", lambda: Passed(f"{image} is of a public registry, which was not asked"))
    else:
        report.check("image", _look, image, login)


def _look(image: str, login: Any) -> Passed:
    from azure.core.exceptions import AzureError

    try:
        platforms = _platforms(image, login)
    except AzureError as error:
        if status_and_code(error)[0] == 404:
            push = f"{BUILD}; docker push $PRETRAIN_LLAMA_IMAGE"
            raise Failed(f"{image} is not in its registry", push) from error
        raise explain(error, "AcrPull on the registry") from error
    if NODES not in platforms:
        raise Failed(f"it was built for {', '.join(sorted(platforms))}, and nodes are {NODES}", BUILD)
    return Passed(f"{image}, for {NODES}")


def _platforms(image: str, login: Any) -> set[str]:
    """Return what an image was built for. An index of images names it for each; that of one is a property of it."""
    from azure.containerregistry import ContainerRegistryClient

    registry, _, name = image.partition("/")
    repository, _, reference = name.partition("@") if "@" in name else name.rpartition(":")
    client = ContainerRegistryClient(f"https://{registry}", login, retry_total=1)
    manifest = client.get_manifest(repository, reference).manifest
    if "manifests" in manifest:
        found = [entry.get("platform", {}) for entry in manifest["manifests"]]
        return {f"{platform.get('os')}/{platform.get('architecture')}" for platform in found}
    properties = client.get_manifest_properties(repository, reference)
    return {
        "/".join(str(getattr(kind, "value", kind)) for kind in (properties.operating_system, properties.architecture))
    }
