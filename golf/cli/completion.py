"""`golf completion`."""

from __future__ import annotations

import click


@click.command(
    short_help="Print a shell's completion script.",
    epilog="""Examples:

\b
  eval "$(golf completion bash)"                                         # in ~/.bashrc
  eval "$(golf completion zsh)"                                          # in ~/.zshrc
  golf completion fish > ~/.config/fish/completions/golf.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete golf's commands, options, recipes, runs and keys of --set."""
    from click.shell_completion import ShellComplete, get_completion_class

    from golf.cli import golf

    kind = get_completion_class(shell)
    assert kind is not None  # click knows all three
    script = kind(golf, {}, "golf", "_GOLF_COMPLETE")
    # ShellComplete's own: bash's would first start a bash, and warn of one that is old or missing here
    click.echo(ShellComplete.source(script))
