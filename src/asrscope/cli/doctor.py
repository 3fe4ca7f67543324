"""``asrscope doctor``: what works on this machine, what is missing, and the command that mends it."""

import json
from typing import Annotated

import typer

from asrscope.cli.console import FAILED
from asrscope.cli.options import AsJson

__all__ = ["doctor"]


def doctor(
    as_json: AsJson = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask whether the Hub answers.")] = False,
) -> None:
    """Say what works on this machine, what is missing, and the command that mends it.

    The exit status is 0 if the bundled model can transcribe a clip here, whatever else is missing.
    """
    from asrscope.cli.checkup import examine, works

    findings = examine(hub=not offline)
    fine = works(findings)
    if as_json:
        print(json.dumps({"works": fine, "findings": [one.to_dict() for one in findings]}, indent=2))
    else:
        for one in findings:
            mark = "ok" if one.ok else "MISSING" if one.needed else "-"
            print(f"{mark:8}{one.name:10} {one.found}")
            if one.remedy:
                print(f"{'':19}mend: {one.remedy}")
        print("Everything for the course works." if fine else "Mend what is marked MISSING, from the top.")
    if not fine:
        raise typer.Exit(FAILED)
