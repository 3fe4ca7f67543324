"""Run the command line as ``python -m asrscope_recipe``."""

from asrscope_recipe.cli import main

if __name__ == "__main__":
    main()
