"""``python -m ragline`` is the command ``ragline``."""

from ragline.cli import main

if __name__ == "__main__":
    main()
