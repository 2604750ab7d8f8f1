"""`python -m hotset.cli`: how hotset starts itself as a child process, whatever is on the PATH."""

from hotset.cli import main

main()
