"""Run the command line as ``python -m asrscope``."""

from asrscope.cli import main

if __name__ == "__main__":
    main()
