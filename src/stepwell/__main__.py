"""``python -m stepwell``: the command line, for where the console script is not on the path."""

from stepwell.cli.main import main

if __name__ == "__main__":
    main()
