"""The page: sections in one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Sequence

from golf import __version__
from golf.report.html import artifact_sections, sections
from golf.report.html.markup import text
from golf.report.html.style import CSS
from golf.report.run_data import RunData

# How every report begins; a file that begins so may be written over.
BEGINNING = "<!doctype html>\n<!-- golf report -->\n"
# Nothing is loaded, and no script runs, even if some text got through as markup.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def report_page(runs: Sequence[RunData], *, prompt: str = "", samples: Sequence[str | None] = ()) -> str:
    """The whole page of one run or several; with `samples`, one for each run, what they wrote after `prompt`.

    The same values give the same page, byte for byte.
    """
    content = [
        sections.head(runs),
        sections.losses(runs),
        sections.schedules(runs),
        sections.ranks(runs),
        *artifact_sections.packed_file(runs),
        *([sections.sample(prompt, samples, runs)] if samples else []),
        sections.recipes(runs),
    ]
    title = text(", ".join(run.name for run in runs))
    folders = text(", ".join(str(run.folder) for run in runs))
    return f"""{BEGINNING}<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: golf report</title>
<style>{CSS}</style>
</head>
<body>
<header><h1>{title}</h1><p>{folders}</p></header>
<main>
{"".join(content)}
</main>
<footer><p>Written by golf {text(__version__)} from the files of the run; nothing was measured for it.</p></footer>
</body>
</html>
"""
