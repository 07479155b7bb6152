"""Summaries → the blocks of a report, in the order of reading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lssl_augment.evaluation.report.blocks import Block, Code, Drawing, Heading, Listing, Picture, Table, Text
from lssl_augment.evaluation.report.paper import paper_rows
from lssl_augment.evaluation.report.svg import Point, confusion_svg, curve_svg
from lssl_augment.evaluation.report.trade_off import trade_off_blocks
from lssl_augment.evaluation.report.verdict import first_sentence, regime_sentences, regime_title
from lssl_augment.evaluation.statistics import CELL_METRICS, ArmSummary, Cell, Gap, Regime
from lssl_augment.evaluation.statistics.summary import PRIMARY

__all__ = ["report_blocks"]

_TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "macro_auroc": "macro AUROC",
    "accuracy": "accuracy",
    "ece": "calibration error",
    "log_loss": "log loss",
}
_HOW = (
    "Means and standard deviations are over cells (folds × seeds). Intervals are 95 % bootstraps over test subjects "
    "and seeds. p-values are two-sided; Wilcoxon's is over folds × seeds on balanced accuracy, McNemar's over test "
    "faces (of sequence classifiers: test sequences) on plain accuracy; both after Holm over the arms of the table."
)
_SEQUENCES = (
    "A test item here is a whole sequence from the neutral face to the peak, not a face: {items} test sequences of "
    "{people} people over {folds}. Each arm is a classifier of its own, with its own training, on real sequences only; "
    "the first frame's neutral face is no class. These arms are compared with each other, and with no arm that sees "
    "single faces."
)


def report_blocks(regimes: Sequence[Regime], left_out: Sequence[str], folder: Path) -> list[Block]:
    """All blocks.

    Args:
        left_out: what the run could not do, one sentence each.
        folder: of the results; ``sheets/ARM.png`` are shown where they are.
    """
    blocks: list[Block] = [
        Text(first_sentence(regimes), strong=True),
        Heading("Benchmark: " + ", ".join(dict.fromkeys(r.dataset for r in regimes)), 1),
    ]
    if any(regime.simulated for regime in regimes):
        blocks.append(Text("Some faces are simulated stand-ins: those numbers say that the code runs, no more.", True))
    blocks.append(Text(_HOW))
    for i, regime in enumerate(regimes):
        blocks += _regime(regime, i)
    blocks += _sheets(regimes, folder)
    blocks += _left_out(regimes, left_out)
    blocks += _commands(regimes)
    blocks += _environment(regimes)
    return blocks


def _regime(regime: Regime, number: int) -> list[Block]:
    arms = list(regime.arms.values())
    blocks: list[Block] = [Heading(regime_title(regime))]
    if regime.test_item == "sequence":
        blocks.append(Text(_about_sequences(arms)))
    sentences = regime_sentences(regime)
    if sentences:
        blocks.append(Listing(tuple(sentences)))
    blocks.append(_metrics_table(arms))
    for other, gaps in (
        (regime.baseline, {a.name: a.to_baseline for a in arms}),
        (regime.best_real if regime.best_real != regime.baseline else None, {a.name: a.to_best_real for a in arms}),
    ):
        if other is not None and any(gaps.values()):
            blocks.append(_gap_table(other, {name: gap for name, gap in gaps.items() if gap is not None}))
    blocks.append(_recall_table(arms, regime.classes))
    blocks += trade_off_blocks(regime.trade_offs, regime.baseline, number)
    paper = paper_rows(regime.protocol, regime.test_item)
    if paper is not None:
        blocks += _beside_paper(arms, *paper)
    curve = _curve(regime)
    if curve is not None:
        blocks.append(Drawing(curve, f"curve-{number}", "Balanced accuracy over the number of synthetic faces, 95 %"))
    for row, arm in enumerate(arms):
        svg = confusion_svg(arm.confusion, regime.classes, arm.name)
        blocks.append(Drawing(svg, f"confusion-{number}-{row}", f"{arm.name}: rows are labels, in %"))
    return blocks


def _about_sequences(arms: Sequence[ArmSummary]) -> str:
    """What was tested; every fold counts once, whichever arms and seeds were tested on it."""
    folds = {str(cell.key[0]): cell for arm in arms for cell in arm.cells}
    people = {str(subject) for cell in folds.values() for subject in cell.subjects}
    items = sum(len(cell.labels) for cell in folds.values())
    told = f"{len(folds)} folds" if len(folds) > 1 else "one fold"
    return _SEQUENCES.format(items=items, people=len(people), folds=told)


def _metrics_table(arms: Sequence[ArmSummary]) -> Table:
    head = ("arm", "cells", *(_TITLES[m] for m in CELL_METRICS), "balanced accuracy, 95 %")
    rows = []
    for arm in arms:
        low, high = arm.interval[PRIMARY]
        values = (_spread(m, arm.mean[m], arm.sd[m]) for m in CELL_METRICS)
        rows.append((arm.name, str(len(arm.cells)), *values, f"{100 * low:.1f} to {100 * high:.1f}"))
    return Table(head, tuple(rows), "In %, but log loss in nats; mean ± standard deviation over cells.")


def _gap_table(other: str, gaps: dict[str, Gap]) -> Table:
    head = (
        f"against {other}",
        "pairs",
        *(_TITLES[m] for m in CELL_METRICS[:4]),
        "balanced accuracy, 95 %",
        "Wilcoxon p (Holm)",
        "McNemar p (Holm)",
        "McNemar p by fold",
    )
    rows = []
    for name, gap in gaps.items():
        low, high = gap.interval[PRIMARY]
        values = (_spread(m, gap.mean[m], gap.sd[m], "+") for m in CELL_METRICS[:4])
        folds = ", ".join(_p(test.p) for test in gap.folds.values())
        interval = f"{100 * low:+.1f} to {100 * high:+.1f}"
        tests = (_p(gap.wilcoxon_holm), _p(gap.mcnemar_holm), folds)
        rows.append((name, str(gap.pairs), *values, interval, *tests))
    # Arms that are the other one in all but name have nothing to test.
    least = max((g.wilcoxon.smallest_p for g in gaps.values() if g.mean[PRIMARY] or g.sd[PRIMARY]), default=0.0)
    few = f" With so few pairs Wilcoxon's p cannot fall below {least:.3g}." if least > 0.05 else ""
    return Table(head, tuple(rows), f"Differences in points, paired by fold and seed.{few}")


def _recall_table(arms: Sequence[ArmSummary], classes: Sequence[str]) -> Table:
    head = ("arm", *(f"{name} recall / precision" for name in classes))
    rows = tuple(
        (arm.name, *(f"{_percent(arm.recall[c])} / {_percent(arm.precision[c])}" for c in classes)) for arm in arms
    )
    return Table(head, rows, "Recall and precision of each class in %, mean over cells.")


def _beside_paper(
    arms: Sequence[ArmSummary], caption: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]
) -> list[Block]:
    blank = ("",) * (len(columns) - 1)
    ours = [(arm.name, _spread("accuracy", arm.mean["accuracy"], arm.sd["accuracy"]), *blank) for arm in arms]
    if len(columns) > 1:
        columns = tuple(f"{c} (paper)" for c in columns)
        ours = [(name, *("",) * len(columns), value) for name, value, *_ in ours]
        table = Table(("", *columns, "this run"), tuple([(*row, "") for row in rows] + ours), caption)
    else:
        merged = [(name, value, "") for name, value in rows] + [(name, "", value) for name, value in ours]
        table = Table(("", "paper", "this run"), tuple(merged), caption)
    return [Text("Accuracy in %: the paper's numbers (not run here) and this run's."), table]


def _curve(regime: Regime) -> str | None:
    """Arms with several amounts of synthetic faces; the baseline is their point without any."""
    curves: dict[str, list[Point]] = {}
    for arm in regime.arms.values():
        if arm.synthetic and arm.cells[0].record.get("amount") is not None:
            faces = float(np.mean([cell.synthetic_faces for cell in arm.cells]))
            curves.setdefault(str(arm.cells[0].record["arm"]), []).append(_point(arm, round(faces)))
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    if regime.best_real is not None:
        start = _point(regime.arms[regime.best_real], 0)
        curves = {name: [start, *points] for name, points in curves.items()}
    return curve_svg(curves, "number of synthetic faces", "balanced accuracy, %")


def _point(arm: ArmSummary, faces: int) -> Point:
    low, high = arm.interval[PRIMARY]
    return faces, 100 * arm.mean[PRIMARY], 100 * low, 100 * high


def _sheets(regimes: Sequence[Regime], folder: Path) -> list[Block]:
    names = dict.fromkeys(str(c.record["arm"]) for c in _cells(regimes))
    # A name that would lead out of the folder has no sheet.
    found = [(n, p) for n in names if re.fullmatch(r"[^/\\]+", n) and (p := folder / "sheets" / f"{n}.png").is_file()]
    return [Heading("Samples"), *(Picture(path, name) for name, path in found)] if found else []


def _left_out(regimes: Sequence[Regime], left_out: Sequence[str]) -> list[Block]:
    notes = list(dict.fromkeys([*left_out, *(str(n) for c in _cells(regimes) for n in c.record.get("notes") or ())]))
    for regime in regimes:
        notes += [f"{regime_title(regime)}: {note}" for note in regime.notes]
        cells = [cell for arm in regime.arms.values() for cell in arm.cells]
        folds, seeds = {str(c.key[0]) for c in cells}, {c.key[1] for c in cells}
        if len(seeds) < 5:
            notes.append(f"{regime_title(regime)}: {len(seeds)} seeds, fewer than 5.")
        if len(folds) == 1:
            notes.append(f"{regime_title(regime)}: one fixed split, no folds; intervals say nothing of other splits.")
        for arm in regime.arms.values():
            if len(arm.cells) < len(folds) * len(seeds):
                planned = len(folds) * len(seeds)
                notes.append(f"{regime_title(regime)}: {arm.name} has {len(arm.cells)} of {planned} cells.")
    return [Heading("What was left out, and notes"), Listing(tuple(notes) or ("Nothing.",))]


def _commands(regimes: Sequence[Regime]) -> list[Block]:
    blocks: list[Block] = [Heading("Commands"), Text("Each row above comes from the command under its name.")]
    for regime in regimes:
        for arm in regime.arms.values():
            lines = dict.fromkeys(str(c.record["command"]) for c in arm.cells if c.record.get("command"))
            if lines:
                blocks += [Text(f"{regime_title(regime)}: {arm.name}"), Code("\n".join(lines))]
    return blocks


def _environment(regimes: Sequence[Regime]) -> list[Block]:
    rows: dict[tuple[str, str], None] = {}
    for cell in _cells(regimes):
        for name, value in (cell.record.get("environment") or {}).items():
            rows[str(name), str(value)] = None
        if cell.record.get("git_commit"):
            rows["git commit", str(cell.record["git_commit"])] = None
        made = cell.record.get("generator")
        if isinstance(made, dict):
            words = f"sha256 {made.get('sha256')}, trained on {made.get('trained_on')}"
            rows[f"generator {made.get('name')}", words] = None
    seconds = sum(float(cell.record.get("seconds") or 0) for cell in _cells(regimes))
    rows["training and scoring, all cells", f"{seconds:.0f} s"] = None
    return [Heading("Environment"), Table(("", ""), tuple(rows))]


def _cells(regimes: Sequence[Regime]) -> list[Cell]:
    return [cell for regime in regimes for arm in regime.arms.values() for cell in arm.cells]


def _spread(metric: str, mean: float, sd: float, sign: str = "") -> str:
    if np.isnan(mean):
        return "–"
    if metric == "log_loss":
        return f"{mean:{sign}.3f} ± {sd:.3f}"
    return f"{100 * mean:{sign}.1f} ± {100 * sd:.1f}"


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
