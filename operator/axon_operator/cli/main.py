"""Entry of `kubectl axon`; kubectl finds it as `kubectl-axon` in the PATH."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from axon_operator.cli.cluster import Cluster, CommandError
from axon_operator.cli.commands import COMMANDS, GLOBAL
from axon_operator.cli.grammar import Argument

_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. 0: done; 1: not done, or something is wrong; 2: not understood."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(Cluster(options.kubeconfig, options.context), options)
    except CommandError as error:
        sys.stderr.write(f"kubectl axon: {error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl axon", description="Tenants of axon-operator, by your own rights.")
    _add(parser, GLOBAL)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    groups = {}
    for group in dict.fromkeys(command.group for command in COMMANDS if command.group):
        of_group = commands.add_parser(group.name, help=group.summary, description=group.text)
        groups[group] = of_group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        among = groups[command.group] if command.group else commands
        sub = among.add_parser(command.name, help=command.summary, description=command.text)
        _add(sub, command.arguments)
        _add(sub, command.group.arguments if command.group else ())
        sub.set_defaults(run=command.run)
    return parser


def _add(parser: argparse.ArgumentParser, arguments: Sequence[Argument]) -> None:
    for argument in arguments:
        parser.add_argument(*argument.flags, help=argument.help, **argument.options)


if __name__ == "__main__":
    sys.exit(main())
