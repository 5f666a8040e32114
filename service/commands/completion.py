"""`completion`: what makes a shell complete commands and flags."""

import argparse
from collections.abc import Iterator

import shtab

_FILES = ("output", "files", "data_dir")


def completion(parser: argparse.ArgumentParser, shell: str) -> int:
    """Print it for `shell`: bash, zsh or fish."""
    for action in actions_of(parser):
        if action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell))
    return 0


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a command and of all below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions_of(command)
