"""The pages of the documentation, and the commands in them."""

import re
import shlex
from pathlib import Path

from project import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "scripts/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
FENCED = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)
SEPARATORS = "();<>|&\n"
HERE_DOCUMENT = re.compile(r"^(.*<<'END'.*)\n.*?^END$", re.M | re.S)


def blocks(page: Path) -> list[str]:
    """The blocks of shell commands of a page."""
    return FENCED.findall(page.read_text())


def commands(page: Path) -> list[list[str]]:
    """The commands of a page by word: those of its blocks, and those inside a line that begin with a known program."""
    texts = [HERE_DOCUMENT.sub(r"\1", block).replace("\\\n", " ") for block in blocks(page)]
    texts += re.findall(r"`((?:make|snakemake|python scripts/)[^`\n]*)`", page.read_text())
    return [command for text in texts for command in _parted(re.sub(r"(^|\s)#.*", "", text))]


def _parted(text: str) -> list[list[str]]:
    """Part shell commands by line, ; && || and |, and drop what they are redirected to."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=SEPARATORS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    parted: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(SEPARATORS):
            parted.append([])
        else:
            parted[-1].append(word)
    return [words for words in parted if words]
