"""Show how a model went on from prompts: at evaluations during its training, and at its end."""

from collections.abc import Callable
from pathlib import Path

from pretrain_llama.report import html
from pretrain_llama.run.log_file import SAMPLES, read_log


def samples(run_folder: Path, heading: Callable[[str], str] = html.heading) -> list[str]:
    """Return the samples of a run as HTML, the newest open; nothing where there are none.

    Args:
        run_folder: of the run.
        heading: of the section.
    """
    logged = read_log(run_folder / "output", SAMPLES)
    at_end = run_folder / "sample.txt"
    shown = [html.preformatted(at_end.read_text(encoding="utf-8"))] if at_end.exists() else []
    texts = [(record["iteration"], "\n----\n".join(record["texts"])) for record in logged]
    earlier, newest = texts[:-1], texts[-1] if texts else None
    if newest and not shown:
        shown = [html.paragraph(f"At iteration {newest[0]:,}."), html.preformatted(newest[1])]
    elif newest:
        earlier.append(newest)
    if not shown:
        return []
    before = [html.details(f"at iteration {iteration:,}", html.preformatted(text)) for iteration, text in earlier]
    return [heading("Samples"), *shown, *before]
