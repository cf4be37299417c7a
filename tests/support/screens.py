"""What a newcomer gets wrong in a project, and the screen that tells it."""

from collections.abc import Callable

from project import COLUMNS, Project, Result

LINES_OF_A_SCREEN = 25
CORPORA, NEWS = "config/corpora.tsv", "vendor/ar_news_daily/a.jsonl"


def check_screen(result: Result, *parts: str) -> None:
    """Check that a program failed with a screen that holds some parts, an action, and nothing of our sources."""
    screen = result.stdout + result.stderr
    assert result.returncode != 0
    for part in (*parts, "\n  where: ", "\n  next:  "):
        assert part in screen, screen
    assert "Traceback" not in screen and 'File "' not in screen, screen
    assert len(screen.splitlines()) <= LINES_OF_A_SCREEN, screen


def write(path: str, content: bytes) -> Callable[[Project], None]:
    return lambda project: (project.folder / path).write_bytes(content)


def row_of_news(**columns: str) -> Callable[[Project], None]:
    """The table with the row of ar_news_daily alone, some of its columns changed."""
    row = {"language": "ar", "domain": "news", "subdomain": "daily", "source": "vendor/ar_news_daily/*"}
    row |= {"text_key": "text"} | columns
    return lambda project: project.corpora([row[name] for name in COLUMNS])
