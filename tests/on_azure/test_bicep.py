"""The template of the Azure resources, read without Azure's compiler: structure, names, promises."""

import re

import pytest

from pretrain_llama.doctor.variables import REGISTRY, SUBNET, VARIABLES
from project import ROOT

TEMPLATE = (ROOT / "envs" / "azure" / "main.bicep").read_text()
PAIRS = {"(": ")", "[": "]", "{": "}"}
# Roles by their name, as Azure's list of built-in roles has them.
ROLES = {
    "acrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "acrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "batchDataContributor": "6aaa78f1-f7de-44ca-8722-c64a23943cae",
    "managedIdentityOperator": "f1a07417-d97a-45cb-824c-7a7467783830",
    "storageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
}


def code(template: str) -> str:
    """The template without comments and strings; what a string takes in with ${…} stays."""
    without = re.sub(r"(?<!:)//[^\n]*", "", template)
    return re.sub(r"'[^'\n]*'", lambda s: " ".join(re.findall(r"\$\{([^}]*)\}", s[0])), without)


def block(name: str) -> str:
    """The text of a resource."""
    match = re.search(rf"^resource {name} .*?^}}", TEMPLATE, re.M | re.S)
    assert match is not None, name
    return match[0]


def check_balance(text: str) -> None:
    opened = []
    for number, line in enumerate(text.splitlines(), 1):
        for character in line:
            if character in PAIRS:
                opened.append(PAIRS[character])
            elif character in PAIRS.values():
                assert opened, f"line {number}: {character} closes nothing"
                assert opened.pop() == character, f"line {number}"
    assert opened == []


def test_brackets_and_quotes_are_balanced() -> None:
    check_balance(code(TEMPLATE))
    assert all(line.count("'") % 2 == 0 for line in TEMPLATE.splitlines() if not line.startswith("//"))


@pytest.mark.parametrize("broken", [TEMPLATE + "}", TEMPLATE.replace("]", ")", 1), TEMPLATE.rsplit("]", 1)[0]])
def test_the_check_of_balance_finds_what_is_broken(broken: str) -> None:
    with pytest.raises(AssertionError):
        check_balance(code(broken))


def test_whatever_is_declared_is_used_and_used_is_declared() -> None:
    declared = re.findall(r"^(?:param|var|resource) (\w+)", TEMPLATE, re.M)
    assert len(declared) == len(set(declared)) >= 20
    text = code(TEMPLATE)
    leaves = {"storageLock", *re.findall(r"(?:nodes|operator)[A-Z]\w+(?= ')", TEMPLATE)}  # nothing refers to these
    for name in declared:
        assert (len(re.findall(rf"\b{name}\b", text)) > 1) == (name not in leaves), name
    for used in re.findall(r"(?<![\w.'])(\w+)\.(?:id|name|properties)\b", text):
        assert used in declared, used
    assert set(re.findall(r"roles\.(\w+)", text)) == ROLES.keys()


def test_every_parameter_is_described_and_has_a_default() -> None:
    parameters = re.findall(r"^param .*", TEMPLATE, re.M)
    descriptions = re.findall(r"@description\('[^']+\.'\)\n(?:@.*\n)*param ", TEMPLATE)
    assert len(parameters) == len(descriptions) > 0
    assert all(" = " in parameter for parameter in parameters)


def test_versions_of_the_interfaces_are_dated_and_none_is_a_preview() -> None:
    types = re.findall(r"^resource \w+ '([\w./]+)@([^']*)'", TEMPLATE, re.M)
    assert len(types) == len(re.findall(r"^resource ", TEMPLATE, re.M))
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", version) for _, version in types)


def test_roles_are_the_builtin_ones() -> None:
    for name, role in ROLES.items():
        assert f"  {name}: '{role}'" in TEMPLATE


def test_nodes_may_use_blobs_and_pull_images_and_no_more() -> None:
    assert re.findall(r"^resource (nodes\w+)", TEMPLATE, re.M) == ["nodesUseBlobs", "nodesPullImages"]
    for name, scope, role in (
        ("nodesUseBlobs", "storage", "storageBlobDataContributor"),
        ("nodesPullImages", "registry", "acrPull"),
    ):
        assert f"scope: {scope}\n" in block(name)
        assert f"guid({scope}.id, identity.id, roles.{role})" in block(name)
        assert f"'Microsoft.Authorization/roleDefinitions', roles.{role})" in block(name)
        assert "principalId: identity.properties.principalId" in block(name)


@pytest.mark.parametrize(
    ("resource", "promise"),
    [
        ("storage", "minimumTlsVersion: 'TLS1_2'"),
        ("storage", "supportsHttpsTrafficOnly: true"),
        ("storage", "allowBlobPublicAccess: false"),
        ("storage", "allowSharedKeyAccess: allowAccountKeys"),
        ("blobs", "deleteRetentionPolicy: { enabled: true, days: keepDeletedDays }"),
        ("blobs", "containerDeleteRetentionPolicy: { enabled: true, days: keepDeletedDays }"),
        ("vendor", "publicAccess: 'None'"),
        ("results", "publicAccess: 'None'"),
        ("storageLock", "level: 'CanNotDelete'"),
        ("batch", "allowedAuthenticationModes: ['AAD']"),
        ("registry", "adminUserEnabled: false"),
    ],
)
def test_what_is_promised(resource: str, promise: str) -> None:
    assert promise in block(resource)


def test_account_keys_are_refused_by_default_and_nothing_expires() -> None:
    assert "param allowAccountKeys bool = false" in TEMPLATE
    assert "managementPolicies" not in TEMPLATE
    assert "listKeys" not in TEMPLATE


def test_names_fit_the_accounts() -> None:
    """Storage and Batch accounts have at most 24 characters; uniqueString gives 13."""
    longest = int(re.search(r"@maxLength\((\d+)\)\nparam name ", TEMPLATE)[1])
    assert longest + 13 <= 24
    assert re.search(r"param name string = '[a-z0-9]{3,9}'", TEMPLATE)


def test_the_output_has_every_variable_that_a_user_fills_in() -> None:
    outputs = TEMPLATE[TEMPLATE.index("output exports array") :]
    printed = re.findall(r"'export (\w+)=[^']*\$\{[^']+'", outputs)
    assert "'export AZURE_STORAGE_AUTH_MODE=login'" in outputs, "the default asks for a key, which is off"
    assert sorted(printed) == sorted(variable.name for variable in [*VARIABLES, REGISTRY] if variable != SUBNET)
