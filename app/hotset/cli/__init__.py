"""The command line: thin commands over the library. `main` is what `hotset` runs."""

from hotset.cli.main import main

__all__ = ["main"]
