"""`golf data`: download shards, make them from text, and check them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from golf.cli.options import UserPath, json_option
from golf.runtime.visible import visible


@click.group(
    short_help="Fetch, make and check token shards.",
    epilog="""Examples:

\b
  golf data prepare texts/ more.jsonl --tokenizer sp:1024 --out data/mine
  golf data prepare book.txt --tokenizer fineweb_1024_bpe.model --out data/book
  golf data fetch fineweb --tokenizer sp1024 --train-shards 10
  golf data info data/mine""",
)
def data() -> None:
    """Fetch or make token shards in the contest's format, and check them."""


@data.command(
    short_help="Write shards from text.",
    epilog="""Examples:

\b
  golf data prepare texts/ --tokenizer sp:1024 --out data/mine
  golf data prepare dump.parquet --text-field content --tokenizer bytes --out data/dump --workers 8""",
)
@click.argument("texts", nargs=-1, required=True, type=UserPath(exists=True))
@click.option("--tokenizer", required=True, help='A SentencePiece model, "sp:N" to train one of N pieces, or "bytes".')
@click.option("--out", required=True, type=UserPath(file_okay=False), help="Folder of the shards.")
@click.option("--name", default="text", show_default=True, help="Name of the shards: NAME_train_000000.bin.")
@click.option("--text-field", default="text", show_default=True, help="Key or column of .jsonl and .parquet.")
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Share of documents in the validation split.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that tokenize; default: one per core.")
@json_option
def prepare(
    texts: tuple[Path, ...],
    tokenizer: str,
    out: Path,
    name: str,
    text_field: str,
    val_fraction: float,
    workers: int | None,
    as_json: bool,
) -> None:
    """Tokenize TEXTS (UTF-8 files, folders, .jsonl, .parquet) into shards in the contest's format.

    BOS opens each document; the hash of a document's content decides its split, so none is in both.
    """
    from golf.cli.terminal import show, show_json, watching
    from golf.data import TOKENIZER_FILE
    from golf.data.dataset import prepare_dataset
    from golf.report import prepared_table, recipe_lines
    from golf.runtime.interrupt import listening
    from golf.runtime.json_values import to_json

    with listening() as stop, watching() as observer:
        result = prepare_dataset(
            texts,
            tokenizer=tokenizer,
            out=out,
            name=name,
            text_field=text_field,
            val_fraction=val_fraction,
            workers=workers or os.cpu_count() or 1,
            stop=stop,
            observer=observer,
        )
    if as_json:
        show_json(to_json(result))
        return
    show([prepared_table(result)])
    click.echo(
        visible(recipe_lines(str(out), str(out / TOKENIZER_FILE), result.vocab_size, result.tokenizer), lines=True)
    )


@data.command(
    short_help="Count and check shards.",
    epilog="""Examples:

\b
  golf data info data/mine
  golf data info data/datasets/fineweb10B_sp1024 --tokenizer data/tokenizers/fineweb_1024_bpe.model""",
)
@click.argument("folder", type=UserPath(exists=True, file_okay=False))
@click.option(
    "--tokenizer",
    type=UserPath(),
    help='SentencePiece model, or "bytes"; default: tokenizer.model in FOLDER.',
)
@json_option
def info(folder: Path, tokenizer: Path | None, as_json: bool) -> None:
    """Read every token of FOLDER's shards: tokens, documents, bytes; a malformed one is named with its offset."""
    from golf.cli.terminal import show, show_json
    from golf.data.dataset import dataset_info
    from golf.report import info_table, recipe_lines
    from golf.runtime.interrupt import listening
    from golf.runtime.json_values import to_json

    with listening() as stop:
        found = dataset_info(folder, tokenizer=tokenizer, check=lambda: stop.raise_if_stopped("stopped while reading"))
    if as_json:
        show_json(to_json(found))
        return
    show([info_table(found)])
    if found.tokenizer is not None:
        kind = "bytes" if found.tokenizer == "bytes" else "sentencepiece"
        click.echo(visible(recipe_lines(str(folder), found.tokenizer, found.vocab_size, kind), lines=True))


@data.command(
    short_help="Download the contest's shards.",
    epilog="""Examples:

\b
  golf data fetch fineweb
  golf data fetch fineweb --tokenizer sp1024 --train-shards 10 --out data""",
)
@click.argument("dataset", type=click.Choice(["fineweb"]))
@click.option("--tokenizer", default="sp1024", show_default=True, help="sp1024, sp4096, byte260, ...")
@click.option(
    "--train-shards", type=click.IntRange(min=0), default=80, show_default=True, help="Training shards, 200 MB each."
)
@click.option("--out", type=UserPath(file_okay=False), default=Path("data"), show_default=True, help="Their folder.")
@click.option("--repository", help="Another dataset repository of the hub; default: the contest's.")
@click.option("--revision", help="A branch, tag or commit of the repository.")
@json_option
def fetch(
    dataset: str,
    tokenizer: str,
    train_shards: int,
    out: Path,
    repository: str | None,
    revision: str | None,
    as_json: bool,
) -> None:
    """Download shards, tokenizer and manifest of DATASET from the Hugging Face hub, where recipes look for them.

    Sizes and digests are checked, also of existing files; partial downloads are resumed. Needs golf[hub].
    """
    from golf.cli.terminal import show, show_json, watching
    from golf.data.fetch import REPOSITORY
    from golf.data.fetch import fetch as fetch_flow
    from golf.report import fetched_table, recipe_lines
    from golf.runtime.interrupt import listening
    from golf.runtime.json_values import to_json

    assert dataset == "fineweb"  # click allows no other
    with listening() as stop, watching() as observer:
        result = fetch_flow(
            tokenizer=tokenizer,
            train_shards=train_shards,
            out=out,
            repository=repository or REPOSITORY,
            revision=revision,
            stop=stop,
            observer=observer,
        )
    if as_json:
        show_json(to_json(result))
        return
    show([fetched_table(result)])
    kind = "sentencepiece" if result.tokenizer else "bytes"
    click.echo(visible(recipe_lines(str(result.folder), result.tokenizer, result.vocab_size, kind), lines=True))
