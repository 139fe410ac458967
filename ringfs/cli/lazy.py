"""A click group whose verbs are imported when they are run, so that `ringfs --help` imports none of them."""

import importlib
from collections.abc import Mapping

import click


class LazyGroup(click.Group):
    """`verbs` maps a name to (module, what it does in one line); the module's `command` is the verb."""

    def __init__(self, *args: object, verbs: Mapping[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own arguments, passed on
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which goes from the whole to the parts."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in self.verbs:
            return None
        command = importlib.import_module(self.verbs[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table itself: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in self.verbs.items()])
