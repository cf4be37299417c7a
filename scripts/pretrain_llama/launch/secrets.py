"""Recognize secrets by their name or their form, so that none gets into a file, a command line or a message."""

import re
from collections import Counter
from collections.abc import Callable

REMOVED = "(removed: it looks like a secret)"
_ALWAYS = r"pass(?:word|wd|phrase|code)|pwd|secrets?|credentials?|connection[_-]?string|conn[_-]?str|sas"
# Of keys and tokens there are harmless ones, such as text_key and eos_token: these say what they open.
_OPENING = (
    r"(?:api|access|account|auth|bearer|client|deploy|encryption|master|private|refresh|secret|service|session|shared|"
    r"sign(?:ing)?|ssh|storage|subscription|user)[_-]?"
)
_NAMES = re.compile(rf"(?i)(^|[_.-])({_ALWAYS}|key|token)$")
_NAMED = re.compile(
    rf"""(?x)
    (?P<name>(?i:[\w.-]{{0,80}}(?:{_ALWAYS}|key|token)))
    (?P<between>["']?\]?[ \t]*(?::=|=>|[:=]|>)[ \t]*)
    (?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,;&'"<>(){{}}\[\]]+(?![(\w\[]))
    """
)
_OPTION = re.compile(rf"(?i)(?P<name>--?[\w-]*(?:{_ALWAYS}|key|token))(?P<between>[ \t]+)(?P<value>[^\s-]\S*)")
_NETRC = re.compile(r"(?P<name>\bpassword)(?P<between>[ \t]+)(?P<value>[^\s=:,.]+)(?=[ \t]*$)", re.MULTILINE)
_VALUES = re.compile(
    r"""(?ix)
    -----BEGIN[ ][A-Z0-9 ]*PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
      (?:(?:[^-]|-(?!----END))*-----END[ ][A-Z0-9 ]*KEY(?:[ ]BLOCK)?-----)?
    | (?<=sig=)[\w%+/=-]{20,}                      # signature of a shared access URL of Azure
    | (?<=AccountKey=)[\w+/=]{20,}                 # connection string of Azure storage
    | (?<=SharedAccessKey=)[\w+/=]{20,}            # of its event hubs and service buses
    | (?<=authorization:[ ])(?:basic|bearer|token)[ ]\S+
    | \bbearer[ ](?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}
    | \b(?:hf|gh[opsur]|github_pat|glpat|gldt|sk|rk|xox[abprs]|xapp|npm|dop_v1|pypi|nvapi|r8|tskey)[_-]
      (?=\S*\d)[\w-]{20,}
    | \bdapi[0-9a-f]{32}\b                         # Databricks
    | \bA(?:KIA|SIA)[0-9A-Z]{16}\b                 # AWS
    | \bAIza[\w-]{35}                              # Google
    | \bya29\.[\w-]{20,}
    | \bSG\.[\w-]{16,}\.[\w-]{16,}                 # SendGrid
    | \bAGE-SECRET-KEY-1[0-9A-Z]{30,}
    | \b\d{8,10}:[\w-]{35}\b                       # Telegram
    | \b[\w~.-]{3}8Q~[\w~.-]{31,34}                # Entra ID
    | (?<![\w+/])[a-z0-9+/]{86}==                  # a key of Azure storage, alone
    | \beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*          # JSON web token
    | (?<=://)[^/\s:@"'\\]*:[^/\s@"'\\]+(?=@)      # user and password in a URL
    | (?<=://)[\w-]{20,}(?=@)                      # a token in their place
    """
)
_SURE = re.compile(rf"(?i)(?:{_ALWAYS}|{_OPENING}key|{_OPENING}token)$")
_DENSE = re.compile(r"[\w+/=.~-]{16,}")
# No secrets, but words of programs, places and what stands for a secret.
_HARMLESS = re.compile(
    r"(?i)true|false|null|none|str|bytes|int|secrets?|x+|\*+|\.+|[$%].*|<.*>|\w+_file|[\w.]*\.\w*[_.]\w*|[a-z_]+\.[a-z_.]+"
)


def looks_secret(value: str) -> bool:
    """Say whether a text holds something that looks like a secret."""
    return _VALUES.search(value) is not None


def names_a_secret(name: str) -> bool:
    """Say whether a variable of this name would hold a secret, such as WANDB_API_KEY."""
    return _NAMES.search(name) is not None


def redact(text: str) -> str:
    """Return a text with what looks like a secret, or is called like one, taken out."""
    return redacted(text)[0]


def redacted(text: str) -> tuple[str, Counter[str]]:
    """Return a text as `redact` does, and how often what was taken out of it, by its name; "a value" without one."""
    found: Counter[str] = Counter()

    def by_form(_: re.Match[str]) -> str:
        found["a value"] += 1
        return REMOVED

    def by_name(match: re.Match[str]) -> str:
        name, value = match["name"].strip("-."), match["value"]
        inner = value.strip("'\"")
        if inner.startswith(REMOVED.split()[0]) or not _is_secret(name, inner, is_quoted=inner != value):
            return match[0]
        found[name] += 1
        quote = value[0] if inner != value else ""
        return f"{match['name']}{match['between']}{quote}{REMOVED}{quote}"

    steps: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [(_VALUES, by_form)]
    steps += [(pattern, by_name) for pattern in (_NAMED, _OPTION, _NETRC)]
    for pattern, replacement in steps:
        text = pattern.sub(replacement, text)
    return text, found


def _is_secret(name: str, value: str, is_quoted: bool) -> bool:
    """Say whether a value is what its name says; harmless words are no secrets, nor is what other keys hold."""
    if len(value) < 4 or value.endswith(name) or (not is_quoted and _HARMLESS.fullmatch(value)):
        return False
    if _SURE.search(name):
        return True
    is_dense = _DENSE.fullmatch(value) and re.search(r"\d", value) and re.search(r"(?i)[a-z]", value)
    return bool(is_dense) and len(set(value)) >= 8
