"""Run the command line as ``python -m golf``."""

from golf.cli import main

if __name__ == "__main__":
    main()
