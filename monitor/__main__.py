"""`python -m monitor` is `tocsin`."""

from monitor.cli.main import main

main()
