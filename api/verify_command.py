"""`stem-pipeline verify`: a result folder against its source.

Belongs here: printing the checks. The checks are `quality.verification`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from api import console
from api.result_folders import printable
from stem_pipeline.errors import CODES, Cancelled


def verify(source: Path, folder: Path, as_json: bool) -> int:
    """Prints every check; gives 0 only if all hold. Raises what `quality.verification.verify_result` does."""
    from quality.verification import verify_result

    try:
        result = verify_result(source, folder)
    except KeyboardInterrupt as interrupt:
        raise Cancelled(message="The verification was cancelled.") from interrupt
    passed = result.verdict == "passed"
    if as_json:
        document = {"ok": passed, "verdict": result.verdict, "checks": [asdict(c) for c in result.checks]}
        sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        table = Table(title=Text(f"{printable(folder)} against {printable(source)}"), title_justify="left")
        for column in ("check", "holds", "what was found"):
            table.add_column(column, overflow="fold")
        for check in result.checks:
            table.add_row(check.name, "yes" if check.passed else "NO", Text(check.sentence))
        out = console.output()
        out.print(table)
        out.print(f"verdict: {result.verdict}", highlight=False)
    return 0 if passed else CODES["result_invalid"].exit_status
