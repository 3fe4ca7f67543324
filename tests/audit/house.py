"""Count how large the house is, and hold it against its budgets: ``python tests/audit/house.py``.

A line of code is one that is neither blank nor a comment nor part of a docstring. A budget is what holds now:
who needs more room raises it here, and says why in the commit.
"""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
LOADED = """
import sys, asrscope
model, processor = asrscope.load("tiny")
asrscope.trace(model, processor, asrscope.load_samples()[0].path)
print(*(name for name in sys.modules if name.partition(".")[0] == "asrscope"))
"""
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
BUDGETS = {
    "code lines of asrscope": 8_937,
    "files of asrscope": 53,
    "entries at the top of asrscope": 20,
    "code lines of asrscope/loading": 1_142,
    "files of asrscope/loading": 5,
    "code lines of asrscope/cli": 759,
    "files of asrscope/cli": 4,
    "code lines of asrscope_course": 1_973,
    "code lines of asrscope_recipe": 2_252,
    "code lines of conf": 1_556,
    "modules of ours that a trace imports": 19,
}


def code_lines(text: str) -> int:
    """Count the lines of a program that hold code."""
    of_docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            of_docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - of_docstrings)


def programs(*folders: Path) -> list[Path]:
    """List the programs in folders and below."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def measure() -> dict[str, int]:
    """Count everything but the imports, for which a process is started."""
    package = SOURCES / "asrscope"
    rooms = {
        "asrscope": programs(package),
        "asrscope/loading": programs(package / "loading"),
        "asrscope/cli": programs(package / "cli"),
        "asrscope_course": programs(SOURCES / "asrscope_course"),
        "asrscope_recipe": programs(SOURCES / "asrscope_recipe"),
        "conf": [*(ROOT / "conf").glob("*.py"), *programs(ROOT / "conf" / "extensions")],
    }
    found = {}
    for name, files in rooms.items():
        found[f"code lines of {name}"] = sum(code_lines(file.read_text(encoding="utf-8")) for file in files)
        found[f"files of {name}"] = len(files)
    entries = {entry.name for entry in package.iterdir()} - {"__pycache__"}
    found["entries at the top of asrscope"] = len(entries)
    return found


def imported() -> list[str]:
    """List the modules of the package that are imported to load the bundled model and trace one clip."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    return done.stdout.split()


def main() -> int:
    """Print every count beside its budget; 1 if one is over it."""
    found = measure() | {"modules of ours that a trace imports": len(imported())}
    for what, budget in BUDGETS.items():
        print(f"{found[what]:7,} of {budget:7,}  {what}{'  TOO MANY' if found[what] > budget else ''}")
    return int(any(found[what] > budget for what, budget in BUDGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
