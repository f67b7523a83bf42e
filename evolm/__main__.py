"""`python -m evolm`: the same as the command `evolm`."""

from evolm.cli import main

main()
