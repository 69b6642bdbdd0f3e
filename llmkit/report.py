"""What an evaluation shows: report.html, junit.xml, the table in the terminal.

    write_report(folder, results, report, rank_by="state")

report.html holds everything it needs: no script, nothing fetched, every text escaped.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmkit.evaluate_run import Result, passed
from llmkit.output import write_whole
from llmkit.toolkit import find_toolkit

_WIDTH, _ROW, _LEFT, _RIGHT = 680, 26, 150, 120  # of the plot, in pixels; right: its figures


def write_report(
    folder: Path, results: Sequence[Result], report: Mapping[str, Any], *, rank_by: str
) -> None:
    """report.html and junit.xml; report.json is the caller's."""
    write_whole(folder / "report.html", page(results, report, rank_by))
    write_whole(folder / "junit.xml", junit(results, rank_by))


def page(results: Sequence[Result], report: Mapping[str, Any], rank_by: str) -> str:
    """The page of one run."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(find_toolkit().templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    failures = [result for result in results if not passed(result, rank_by)]
    reviewed = [result for result in results if result.answer.review is not None]
    template = environment.get_template("report.html.j2")
    return template.render(
        report=report,
        rank_by=rank_by,
        failures=failures,
        reviewed=reviewed,
        bars=bars(report, rank_by),
        due=due,
        identity=facts(report["identity"]),
    )


def facts(identity: Mapping[str, Any]) -> dict[str, str]:
    """What was evaluated, in words: nested values as `key value`, nothing for none."""
    return {
        key: ", ".join(f"{name} {part}" for name, part in value.items())
        if isinstance(value, Mapping)
        else "none" if value is None else str(value)
        for key, value in identity.items()
    }  # fmt: skip


def due(result: Result) -> str:
    """What would have been right, in words."""
    case = result.case
    if case.command is not None:
        return f"$ {case.command}"
    if case.expected is None:
        answer = case.expected_response
        return f"text, such as: {answer['response']}" if answer else "text, no command"
    words = ", ".join(case.expected)
    return f"a command with {words}" + (
        "" if case.expected_state is None else ", and the end state of the case"
    )


def bars(report: Mapping[str, Any], rank_by: str) -> dict[str, Any]:
    """The plot's bars in pixels: `rank_by` by category, with Wilson's interval."""
    rows: list[dict[str, Any]] = []
    groups = {"all": report, **report["categories"]}
    for category, body in groups.items():
        score = body["scores"].get(rank_by)
        if score is None:
            continue
        rows.append(
            {
                "label": category,
                "y": len(rows) * _ROW + 4,
                "width": round(score["mean"] * (_WIDTH - _LEFT - _RIGHT), 1),
                "low": round(_LEFT + score["low"] * (_WIDTH - _LEFT - _RIGHT), 1),
                "high": round(_LEFT + score["high"] * (_WIDTH - _LEFT - _RIGHT), 1),
                "text": f"{score['mean']:.0%} of {score['n']}",
            }
        )
    return {"rows": rows, "width": _WIDTH, "height": len(rows) * _ROW + 8, "left": _LEFT}


def junit(results: Sequence[Result], rank_by: str) -> bytes:
    """JUnit XML: a test for each case, by category."""
    failed = sum(not passed(result, rank_by) for result in results)
    counts = {"tests": str(len(results)), "failures": str(failed), "errors": "0", "skipped": "0"}
    top = ElementTree.Element("testsuites", {"name": "llmkit.evaluate", **counts})
    suite = ElementTree.SubElement(top, "testsuite", {"name": f"evaluate:{rank_by}", **counts})
    for result in results:
        test = ElementTree.SubElement(
            suite,
            "testcase",
            {"classname": _xml(result.case.category), "name": _xml(result.case.name), "time": "0"},
        )
        if not passed(result, rank_by):
            reason = _xml(result.scores[rank_by].reason)
            failure = ElementTree.SubElement(test, "failure", {"message": reason})
            failure.text = _xml(f"due: {due(result)}\ngot: {result.answer.text}")
    return bytes(ElementTree.tostring(top, encoding="utf-8", xml_declaration=True)) + b"\n"


def print_table(report: Mapping[str, Any]) -> None:
    """Means with their intervals, by category, and the causes of failures."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    table = Table(title=f"{report['cases']:,} cases")
    for heading in ("score", "mean", "95% interval", "over conversations", "n"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, score in report["scores"].items():
        between = [f"{value:.1%}" for value in score["conversations"]]
        table.add_row(
            name, f"{score['mean']:.1%}", f"{score['low']:.1%} – {score['high']:.1%}",
            " – ".join(between), str(score["n"]),
        )  # fmt: skip
    console.print(table)
    names = list(report["scores"])
    table = Table(title="by category")
    table.add_column("category")
    for name in ("cases", *names):
        table.add_column(name, justify="right")
    for category, body in report["categories"].items():
        cells = [
            f"{body['scores'][name]['mean']:.0%}" if name in body["scores"] else "–"
            for name in names
        ]
        table.add_row(category, str(body["cases"]), *cells)
    console.print(table)
    if report["causes"]:
        table = Table(title="failures by cause")
        table.add_column("cause")
        table.add_column("cases", justify="right")
        for title, count in report["causes"].items():
            table.add_row(title, str(count))
        console.print(table)
    if "review" in report:
        from llmkit.evaluate_review import lines

        print(*lines(report["review"]), sep="\n")


def print_comparison(found: Mapping[str, Any], first: object, second: object) -> None:
    """A comparison, in words."""
    print(f"first:  {first}: {found['scorer']} {found['first']:.1%}")
    print(f"second: {second}: {found['scorer']} {found['second']:.1%}")
    print(
        f"{found['cases']} cases; only the first right: {len(found['only_first'])}, only the second:"
        f" {len(found['only_second'])}; McNemar p = {found['p']:.4g}"
    )
    print(
        f"difference {found['difference']:+.1%}, 95% interval {found['low']:+.1%} to "
        f"{found['high']:+.1%}"
    )
    if found["left_out"]:
        print(f"{found['left_out']} results stand in one run alone, or the scorer does not apply")
    winner = {"first": first, "second": second}.get(found["verdict"])
    print("no clear winner" if winner is None else f"better: {winner}")


def _xml(text: str) -> str:
    """Text without the characters that XML has no place for."""
    return "".join(
        character
        for character in text
        if character in "\t\n\r"
        or " " <= character < "\ud800"
        or "\ue000" <= character <= "\ufffd"
        or character > "\uffff"
    )
