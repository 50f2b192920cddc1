"""What a measurement leaves behind: one JSON document per question under `benchmarks/results/`.

Every run is in it, with what it means nothing without, so that the page and its pictures can be written again from
these files alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.question import Run

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Result:
    """Of one question. `disturbed` says what else the machine was doing, and `cut` why there are fewer rounds."""

    question: str
    date: str
    seconds: float
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    disturbed: str
    cut: str
    missing: Mapping[str, Sequence[str]]
    """Programs by the side that was left out for lack of them."""
    runs: Sequence[Run]

    @property
    def rounds(self) -> int:
        return len({run.round for run in self.runs})


def document(result: Result) -> str:
    """One line per run, so that what changed can be read."""
    head = asdict(result)
    runs = [json.dumps(_rounded(run), ensure_ascii=False) for run in head.pop("runs")]
    text = json.dumps(head, indent=2, ensure_ascii=False)
    return text[:-2] + ',\n  "runs": [\n    ' + ",\n    ".join(runs) + "\n  ]\n}\n"


def parsed(text: str) -> Result:
    """Raises ValueError, KeyError or TypeError for what is no such document."""
    found: dict[str, Any] = json.loads(text)
    return Result(**found | {"runs": tuple(Run(**run) for run in found["runs"])})


def save(result: Result, folder: Path = RESULTS) -> None:
    """All of it or nothing: an interruption leaves the earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{result.question}.json"
    fresh.write_text(document(result), encoding="utf-8")
    fresh.replace(folder / f"{result.question}.json")


def load(folder: Path = RESULTS) -> dict[str, Result]:
    """By question. Raises ValueError naming a file that cannot be read as one."""
    results = {}
    for file in sorted(folder.glob("[!.]*.json")):
        try:
            results[file.stem] = parsed(file.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: not a result ({error!r}); measure it again, or delete it") from error
    return results


def _rounded(run: dict[str, Any]) -> dict[str, Any]:
    """Seven digits: more than any figure here is worth, and few enough to be read."""
    kept = {name: value for name, value in run.items() if name != "failed" or value}
    return kept | {"figures": {name: float(f"{value:.7g}") for name, value in run["figures"].items()}}
