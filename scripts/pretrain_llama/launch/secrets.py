"""Recognize secrets by their form, so that none gets into a file, a command line or a message."""

import re

_NAMES = re.compile(r"(?i)(^|_)(key|token|secret|password|passwd|pwd|sas|credentials?|connection_string)$")
_VALUES = re.compile(
    r"""(?ix)
    (?<=sig=)[\w%+/=-]{20,}                        # signature of a shared access URL of Azure
    | (?<=AccountKey=)[\w+/=]{20,}                 # connection string of Azure storage
    | \b(hf|gh[opsu]|github_pat|glpat|sk|xox[bp])[_-][\w-]{20,}   # Hugging Face, GitHub, GitLab, OpenAI, Slack
    | \bAKIA[0-9A-Z]{16}\b                         # AWS
    | \beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*          # JSON web token
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----
    | (?<=://)[^/\s:@]+:[^/\s:@]+(?=@)             # user and password in a URL
    """
)


def looks_secret(value: str) -> bool:
    """Say whether a text holds something that looks like a secret."""
    return _VALUES.search(value) is not None


def names_a_secret(name: str) -> bool:
    """Say whether a variable of this name would hold a secret, such as WANDB_API_KEY."""
    return _NAMES.search(name) is not None


def redact(text: str) -> str:
    """Return a text with what looks like a secret taken out."""
    return _VALUES.sub("(removed: it looks like a secret)", text)
