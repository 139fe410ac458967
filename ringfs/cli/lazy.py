"""A click group whose verbs are imported when they are run, so that `ringfs --help` imports none of them."""

import importlib
from collections.abc import Mapping

import click


class LazyGroup(click.Group):
    """`verbs` maps a name to (module, what it does in one line); the module's `command` is the verb.

    `unnamed` is the verb that is meant by arguments that begin with no verb's name.
    """

    def __init__(self, *args: object, verbs: Mapping[str, tuple[str, str]], unnamed: str | None = None, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own arguments, passed on
        self.verbs = verbs
        self._unnamed = unnamed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the verb that was not."""
        named = (*self.verbs, *self.get_help_option_names(ctx))
        if self._unnamed is not None and (not args or args[0] not in named):
            args = [self._unnamed, *args]
        return super().parse_args(ctx, args)

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
