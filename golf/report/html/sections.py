"""Sections of a report about training and recipe, from values to HTML; what is missing is said in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from golf.recipe.toml import show
from golf.report import run_figures as of
from golf.report.html.curves import Picture, bpb_picture, loss_picture, rank_picture, simple_picture, size_picture
from golf.report.html.markup import (
    Markup,
    facts,
    folded,
    heading,
    paragraph,
    pictures,
    preformatted,
    section,
    table,
    text,
    tiles,
)
from golf.report.run_data import RunData, differing_keys


def names(runs: Sequence[RunData]) -> list[str]:
    """The runs' names in tables and headings; numbered where there are several, as in the pictures."""
    return [f"{index} {run.name}" if len(runs) > 1 else run.name for index, run in enumerate(runs, 1)]


def head(runs: Sequence[RunData]) -> Markup:
    """All figures, a column for each run."""
    columns = [of.figures(run) for run in runs]
    if len(runs) == 1:
        known = [(name, value) for name, value in columns[0].items() if value != "-"]
        return section("Figures", tiles(of.leading(runs[0])), facts(known), key="figures")
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    # what no run has is left out
    rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
    return section("Figures", table(["", *names(runs)], rows), key="figures")


def losses(runs: Sequence[RunData]) -> Markup:
    """Loss, bits per byte and predicted bytes over tokens."""
    found = [loss_picture(runs), bpb_picture(runs), size_picture(runs)]
    return drawn("Training", found, "No metrics are recorded: no metrics.jsonl, as after golf import.", key="training")


def schedules(runs: Sequence[RunData]) -> Markup:
    """Learning rate, rank fraction and rate penalty over tokens."""
    found = [
        simple_picture(runs, "lr", title="Learning rate", unit="learning rate", caption="Of the matrices; no unit."),
        simple_picture(
            runs,
            "rank_fraction",
            title="Rank fraction",
            unit="share of directions",
            caption="The share of singular directions that an update of NuMuon keeps.",
        ),
        simple_picture(
            runs,
            "rate_penalty",
            title="Rate penalty",
            unit="strength",
            caption="The strength of the price on the bits of the weights; no unit.",
        ),
    ]
    return drawn("Schedules", found, "No schedule is recorded.", key="schedules")


def ranks(runs: Sequence[RunData]) -> Markup:
    """Stable and effective rank by role over tokens, and the last figures of every matrix."""
    found = [
        rank_picture(runs, "stable_rank", title="Stable rank"),
        rank_picture(runs, "effective_rank", title="Effective rank"),
    ]
    tables = [
        folded(f"{name}: every matrix at step {run.metrics.matrices_step:,}", _matrices(run))
        for name, run in zip(names(runs), runs, strict=True)
        if run.metrics.matrices
    ]
    return drawn("Spectra of the weights", found, "No spectra are recorded.", *tables, key="spectra")


def _matrices(run: RunData) -> Markup:
    def figure(found: Mapping[str, float], key: str, form: str) -> str:
        return format(found[key], form) if key in found else "-"

    rows = [
        [
            name,
            figure(found, "stable_rank", ".2f"),
            figure(found, "effective_rank", ".2f"),
            figure(found, "top_energy", ".2%"),
            figure(found, "update_ratio", ".2e"),
        ]
        for name, found in run.metrics.matrices.items()
    ]
    return table(["matrix", "stable rank", "effective rank", "energy on top", "last update / weight"], rows)


def sample(prompt: str, texts: Sequence[str | None], runs: Sequence[RunData]) -> Markup:
    """Text that the artifacts wrote after the prompt; None where a run has no artifact."""
    content: list[Markup] = []
    for name, written in zip(names(runs), texts, strict=True):
        content += [heading(name)] if len(runs) > 1 else []
        content.append(paragraph("Not packed: no artifact writes text.") if written is None else _said(prompt, written))
    words = paragraph("Written by the artifact at temperature 0.8, seed 0; bold is the prompt.")
    return section("A sample of text", words, *content, key="sample")


def recipes(runs: Sequence[RunData]) -> Markup:
    """The keys in which the runs' recipes differ, and every recipe in full."""
    content: list[Markup] = []
    if len(runs) > 1:
        keys = differing_keys(runs).items()
        differing = [[key, *("-" if value is None else show(value) for value in values)] for key, values in keys]
        same = paragraph("The recipes are the same.")
        content.append(table(["key", *names(runs)], differing) if differing else same)
    for name, run in zip(names(runs), runs, strict=True):
        if run.recipe_text is None:
            content.append(paragraph(f"{name}: no recipe.toml."))
        elif len(runs) > 1:
            content.append(folded(f"{name}: recipe.toml", preformatted(run.recipe_text)))
        else:
            content.append(preformatted(run.recipe_text))
    return section("Recipe", *content, key="recipe")


def drawn(
    title: str, found: Sequence[Picture | None], otherwise: str, *more: Markup, key: str, large: bool = False
) -> Markup:
    """A section of pictures, or the sentence that says why there is none."""
    shown = pictures(found, large=large) or paragraph(otherwise)
    return section(title, shown, *more, key=key)


def _said(prompt: str, written: str) -> Markup:
    return Markup(f"<pre><b>{text(prompt, lines=True)}</b>{text(written, lines=True)}</pre>")
