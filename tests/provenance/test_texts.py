"""What a person wrote goes into a run folder without secrets, and without what is no part of a run."""

import json
from pathlib import Path

import pytest

from pretrain_llama.launch import secrets
from pretrain_llama.provenance.texts import REDACTED, Texts, chosen_files
from pretrain_llama.provenance.writing import _built_beside
from project import ROOT

HEX, B64, LOW = "3f9a1c77d0b24e6f8a5c9e1d2b7f4a6083c5d7e9", "Zx8Kq2Lm9Vb4Np7Rt1Ws6Yd3Hf5Jg0Ac", "q8w7e6r5t4y3u2i1o0p9"
# Each with the part of it that must not stay.
PLANTED = {
    "an environment's key": (f"WANDB_API_KEY={HEX}", HEX),
    "an exported one": (f"export OPENAI_API_KEY='{LOW}'", LOW),
    "an account key": (f"AZURE_STORAGE_ACCOUNT_KEY={B64}{B64}==", B64),
    "a client secret in YAML": (f"AZURE_CLIENT_SECRET: {LOW}", LOW),
    "a password of words": ('password = "correct horse battery"', "horse"),
    "a password of letters": ("password: hunter", "hunter"),
    "a keyword argument": (f"connect(user='me', passwd='{LOW}')", LOW),
    "a JSON value": (json.dumps({"clientSecret": LOW, "n": 1}), LOW),
    "camel case": (f'apiKey: "{LOW}",', LOW),
    "an item": (f'settings["api_key"] = "{LOW}"', LOW),
    "a token of no form": (f"HF_TOKEN={LOW}", LOW),
    "a token in TOML": (f'token = "{B64}"', B64),
    "an option": (f"wandb login --api-key {HEX}", HEX),
    "an option with =": (f"run --auth-token={LOW}", LOW),
    "a line of netrc": (f"machine api.wandb.ai login user password {HEX}", HEX),
    "a connection string": (f"AccountName=a;AccountKey={B64}{B64}==;Suffix=x", B64),
    "one of a database": (f"Server=db;User=me;Password={LOW};", LOW),
    "one of a service bus": (f"Endpoint=sb://x/;SharedAccessKey={B64}=", B64),
    "a variable that holds one": (f'AZURE_CONNECTION_STRING="{LOW}"', LOW),
    "a shared access signature": (f"https://a.blob.core.windows.net/c?sv=1&sig={B64}%3D", B64),
    "a password in a URL": (f"https://user:{LOW}@host/path", LOW),
    "one with odd letters": (f"redis://:p:{LOW}!@host", LOW),
    "a token in a URL": (f"https://{B64}@github.com/a/b", B64),
    "a query": (f"https://host/?access_token={LOW}&n=1", LOW),
    "XML": (f"<password>{LOW}</password>", LOW),
    "a bearer": (f"Authorization: Bearer {B64}", B64),
    "basic authorization": ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    "a header's key": (f"X-Api-Key: {LOW}", LOW),
    "a JSON web token": (f"eyJ{LOW}.{LOW}.{LOW}", LOW),
    "Hugging Face": (f"x hf_{B64}", B64),
    "GitHub": (f"x ghp_{B64}", B64),
    "GitHub, fine-grained": (f"x github_pat_{B64}", B64),
    "GitLab": (f"x glpat-{LOW}", LOW),
    "Anthropic or OpenAI": (f"x sk-proj-{B64}", B64),
    "Stripe": (f"x sk_live_{B64}", B64),
    "Slack": (f"x xoxb-{LOW}", LOW),
    "AWS": ("x AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    "AWS's other half": (f"aws_secret_access_key = {B64}", B64),
    "Google": ("x AIza" + "Sy1" * 12, "Sy1Sy1"),
    "SendGrid": (f"x SG.{LOW}.{LOW}", LOW),
    "npm": (f"//registry.npmjs.org/:_authToken={LOW}", LOW),
    "PyPI": (f"x pypi-AgEI{B64}", B64),
    "NVIDIA": (f"x nvapi-{B64}", B64),
    "Databricks": ("x dapi" + HEX[:32], HEX[:32]),
    "Telegram": (f"x 123456789:{B64}abc", B64),
    "Entra ID": (f"x abc8Q~{B64}", B64),
    "a private key": (f"-----BEGIN RSA PRIVATE KEY-----\n+{B64}\n+{B64}\n+-----END RSA PRIVATE KEY-----", B64),
}
HARMLESS = [
    'text_key: data.text\neos_token: "<|end_of_text|>"\nkey: value',
    "def by(key: str, token: int) -> None:\n    return sorted(a, key=lambda x: x), tokens_per_second",
    "tokenizer: demo-8k.0a1b2c3d\nblake3: " + HEX,
    "password: str\nsecret = os.environ\nAPI_KEY=$WANDB_API_KEY",
    "https://host:8080/path and user@host, 12:30:45",
]


@pytest.mark.parametrize("kind", PLANTED)
def test_a_secret_does_not_stay(kind: str) -> None:
    planted, secret = PLANTED[kind]
    told, found = secrets.redacted(f"+before = 1\n+{planted}\n+after = 2\n")
    assert secret not in told and secrets.REMOVED in told, told
    assert "+before = 1\n" in told and "+after = 2\n" in told
    assert sum(found.values()) >= 1 and not any(secret in name for name in found)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert secrets.redacted(text) == (text, {})


def test_many_kinds_are_planted_and_none_is_in_the_repository() -> None:
    assert len(PLANTED) >= 40
    for path in [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "config").rglob("*.yaml")]:
        assert not secrets.redacted(path.read_text())[1], path


def test_what_was_taken_out_is_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, source = Texts(), tmp_path / "scripts"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.py").write_text(f'HF_TOKEN = "{B64}"\nWANDB_API_KEY = "{HEX}"\nn = 1\n')
    (source / "b.bin").write_bytes(b"\xff\x00")
    (source / "c.sh").write_text("echo\r\n")
    (source / "c.sh").chmod(0o755)
    texts.copy_tree(source, tmp_path / "copy")
    texts.write("password: 12345", tmp_path / "git.diff")
    texts.tell(tmp_path)
    assert (tmp_path / "copy/deep/a.py").read_text().count(secrets.REMOVED) == 2
    assert (tmp_path / "copy/b.bin").read_bytes() == b"\xff\x00"
    assert (tmp_path / "copy/c.sh").read_bytes() == b"echo\r\n" and (tmp_path / "copy/c.sh").stat().st_mode & 0o100
    found = json.loads((tmp_path / REDACTED).read_text())
    assert found == {"a.py": {"HF_TOKEN": 1, "WANDB_API_KEY": 1}, "git.diff": {"password": 1}}
    assert "secrets: a.py: HF_TOKEN (1), WANDB_API_KEY (1); git.diff: password (1)\n" in capsys.readouterr().out
    Texts().tell(tmp_path / "nowhere")


def test_what_is_no_part_of_a_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (
        "run.yaml",
        "data_ratio.json",
        "lang_prob.yml",
        ".env",
        "data_ratio.json~",
        ".run.yaml.swp",
        "notes.md",
    ):
        (tmp_path / name).touch()
    for name in (".ipynb_checkpoints", "exclude_iterator.yaml"):
        (tmp_path / name).mkdir()
    assert [path.name for path in chosen_files(tmp_path)] == ["data_ratio.json", "lang_prob.yml", "run.yaml"]
    assert ".env, .ipynb_checkpoints, .run.yaml.swp, data_ratio.json~, exclude_iterator.yaml" in capsys.readouterr().out


def test_a_run_folder_is_whole_until_another_is(tmp_path: Path) -> None:
    run = tmp_path / "tiny"
    for name in (
        "data/a.bin",
        "code/old.py",
        "mixture/p.json",
        "output/log",
        "manifest.json",
        "tokenizer.json",
        "launch.sh",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("old")
    before = set(run.rglob("*"))
    with pytest.raises(OSError, match="full"), _built_beside(run) as built:
        assert built.name == "tiny" and (built / "mixture" / "p.json").read_text() == "old"
        (built / "data").mkdir()
        raise OSError("full")
    assert set(run.rglob("*")) == before
    with _built_beside(run) as built:
        (built / "data").mkdir()
        (built / "data" / "b.bin").write_text("new")
        (built / "tokenizer.model").write_text("new")
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {"data/b.bin", "mixture/p.json", "output/log", "tokenizer.model"}
