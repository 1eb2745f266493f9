"""`golf cache`: list and clear the workspace's cache of tokens and tokenizers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from golf.cli.options import json_option
from golf.runtime.visible import visible


@click.group(
    short_help="List or clear the cache of tokens.",
    invoke_without_command=True,
    epilog="""Examples:

\b
  golf cache
  golf cache list --json
  golf cache clear --yes""",
)
@click.pass_context
def cache(context: click.Context) -> None:
    """List or clear the workspace's cache: tokens and tokenizers that trainings made and would make again."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@cache.command(
    "list",
    short_help="List what the cache holds.",
    epilog="""Examples:

\b
  golf cache list
  golf cache list --json | python -m json.tool""",
)
@json_option
def list_(as_json: bool) -> None:
    """List every tokenizer and every tokenized text in the cache with its bytes and its age."""
    from golf.cli.terminal import show, show_json
    from golf.data.cache_contents import cache_contents
    from golf.runtime.json_values import to_json

    folder = _folder()
    entries = cache_contents(folder)
    if as_json:
        total = sum(entry.bytes for entry in entries)
        show_json({"cache": str(folder), "bytes": total, "entries": [to_json(entry) for entry in entries]})
        return
    from golf.report.cache import cache_table

    show([cache_table(folder, entries)])


@cache.command(
    short_help="Delete what the cache holds.",
    epilog="""Examples:

\b
  golf cache clear
  golf cache clear --yes --json""",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def clear(yes: bool, as_json: bool) -> None:
    """Delete the tokens and tokenizers that golf wrote into the cache, and nothing else; trainings make them again.

    A training that is preparing its text meanwhile may fail, and has to be started again.
    """
    from golf.cli.terminal import note, show_json
    from golf.data.cache_contents import cache_contents, clear_cache
    from golf.errors import UsageError

    folder = _folder()
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask on; delete what {folder} holds with: golf cache clear --yes")
    entries = cache_contents(folder)
    total = sum(entry.bytes for entry in entries)
    if not yes and not click.confirm(
        visible(f"delete {total:,} bytes of tokens and tokenizers in {folder}?"), err=True
    ):
        note("nothing was deleted")
        return
    freed = clear_cache(folder, entries)
    if as_json:
        show_json({"cache": str(folder), "freed": freed})
    else:
        click.echo(visible(f"{folder}: {freed:,} bytes freed"))


def _folder() -> Path:
    """The workspace's cache; a link in its own path is the user's choice, one below it is not followed."""
    from golf.run.workspace import find_workspace

    return find_workspace(Path.cwd()).data.resolve()
