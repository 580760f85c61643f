"""`python -m monitor` is `tocsin`."""

from monitor.cli.main import main

if __name__ == "__main__":
    main()
