"""`completion`: what makes a shell complete commands and flags."""

import argparse

import shtab

SHELLS = ("bash", "zsh", "fish")


def completion(parser: argparse.ArgumentParser, shell: str) -> int:
    """Print it for one of `SHELLS`."""
    print(shtab.complete(parser, shell))
    return 0
