"""The report of drawn cells: it says who won and who lost, its numbers are pandas', its HTML is whole and safe."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lssl_augment.errors import SchemaError
from lssl_augment.evaluation.report import write_report
from lssl_augment.evaluation.statistics import read_cells, summarise_cells
from tests.evaluation.drawn_cells import draw_results

SKILLS = {"real": 0.5, "balanced": 1.5, "lssl": 3.0, "stargan": 0.2}
EVIL = 'a<script>alert("1")</script> & |b|'


class Page(HTMLParser):
    """Tags in balance, tables as rows of text, and everything a browser would fetch."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "data", "srcset")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and not (tag in ("rect", "line", "circle", "polyline") and self.open[-1] != tag):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def read(folder: Path, **options: Any) -> tuple[str, Page]:
    markdown, html = write_report(folder, draws=60, **options)
    page = Page(html.read_text(encoding="utf-8"))
    assert page.open == []
    assert not [p for p in folder.rglob("*") if p.name.endswith(".tmp")]
    return markdown.read_text(encoding="utf-8"), page


def test_numbers_agree_with_pandas(tmp_path: Path) -> None:
    draw_results(tmp_path, SKILLS)
    markdown, page = read(tmp_path)
    frame = pd.DataFrame([{"arm": c.arm, **c.record["metrics"]} for c in read_cells(tmp_path)])
    table = frame.groupby("arm")[["balanced_accuracy", "macro_f1", "macro_auroc", "accuracy", "ece"]]
    mean, sd = 100 * table.mean(), 100 * table.std()
    for arm in SKILLS:
        wanted = [f"{m:.1f} ± {s:.1f}" for m, s in zip(mean.loc[arm], sd.loc[arm], strict=True)]
        (row,) = [r for r in page.rows if r[:2] == [arm, "6"] and "±" in r[6]][:1]
        assert row[2:7] == wanted
        assert f"| {arm} | 6 | " + " | ".join(wanted) in markdown
    steps = frame.set_index("arm")["balanced_accuracy"]
    difference = 100 * (steps["lssl"].to_numpy() - steps["balanced"].to_numpy())
    assert f"{difference.mean():+.1f} ± {difference.std(ddof=1):.1f}" in markdown


def test_losses_are_said_as_plainly_as_wins(tmp_path: Path) -> None:
    draw_results(tmp_path / "won", SKILLS)
    markdown, page = read(tmp_path / "won")
    first = markdown.splitlines()[0]
    assert first.startswith("**In drawn, all, tiny, synthetic faces helped: lssl differs from balanced")
    assert "chosen on the test faces" in first
    assert "- lssl helped: " in markdown
    assert "- stargan hurt: " in markdown
    assert page.text.index("synthetic faces helped") < page.text.index("Benchmark: drawn")
    draw_results(tmp_path / "lost", {"balanced": 3.0, "lssl": 0.2})
    assert "synthetic faces hurt: lssl differs" in read(tmp_path / "lost")[0].splitlines()[0]
    draw_results(tmp_path / "even", {"balanced": 1.0, "lssl": 1.0})
    assert "made no difference that can be shown" in read(tmp_path / "even")[0].splitlines()[0]
    draw_results(tmp_path / "none", {"balanced": 1.0})
    assert "cannot be said" in read(tmp_path / "none")[0].splitlines()[0]
    draw_results(tmp_path / "both", {"balanced": 1.0, "lssl": 3.0})
    draw_results(tmp_path / "both", {"balanced": 3.0, "lssl": 0.2}, regime="1 %")
    first = read(tmp_path / "both")[0].splitlines()[0]
    assert "helped in 1 of 2 regimes and hurt in 1 of 2 regimes" in first


def test_a_judge_of_generated_faces(tmp_path: Path) -> None:
    draw_results(tmp_path, {"real": 2.0}, folds=1)
    draw_results(tmp_path, {"lssl": 1.5}, folds=1, prefix="generated/")
    cells = read_cells(tmp_path)
    real, made = (
        100 * np.mean([c.record["metrics"]["accuracy"] for c in cells if c.arm == arm]) for arm in ("real", "lssl")
    )
    markdown, _ = read(tmp_path)
    assert f"a judge names {real:.1f} % of real faces rightly and {made:.1f} % of lssl's" in markdown.splitlines()[0]
    assert "not compared" in markdown


def test_one_page_that_needs_nothing_else(tmp_path: Path) -> None:
    draw_results(tmp_path, {"balanced": 1.0}, folds=1)
    for amount in (500, 1000):
        draw_results(tmp_path, {"lssl": 2.0}, folds=1, amount=amount, n_synthetic=3 * amount)
    (tmp_path / "sheets").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "sheets" / "lssl.png")
    (tmp_path / "left_out.json").write_text(json.dumps(["resnet50: no time"]))
    markdown, page = read(tmp_path, left_out=["fold 3"])
    assert page.fetched
    assert all(target.startswith("data:image/png;base64,") for target in page.fetched)
    assert page.tags.count("svg") == 4  # a curve and three confusion matrices
    for note in ("resnet50: no time", "fold 3", "3 seeds, fewer than 5", "one fixed split"):
        assert note in markdown
        assert note in page.text
    assert "cannot fall below 0.25" in markdown
    assert "lssl-augment benchmark folder --only 'lssl'" in markdown
    for link in re.findall(r"\]\(<?([^)>]+)>?\)", markdown):
        assert (tmp_path / link).is_file()
    for drawing in (tmp_path / "figures").glob("*.svg"):
        assert ElementTree.parse(drawing).getroot().tag.endswith("svg")
    curve = (tmp_path / "figures" / "curve-0.svg").read_text()
    assert all(f">{number}<" in curve for number in ("0", "1,500", "3,000"))


def test_text_is_escaped(tmp_path: Path) -> None:
    draw_results(tmp_path, {"balanced": 1.0}, folds=1, seeds=1, dataset=EVIL, regime="x|y", command=EVIL, notes=[EVIL])
    markdown, page = read(tmp_path)
    assert "script" not in page.tags
    assert EVIL in page.text
    assert "<script>" not in re.sub(r"(?s)```.*?```", "", markdown).replace("\\<script\\>", "")
    assert "x\\|y" in markdown


@pytest.mark.parametrize(("protocol", "number"), [("oulu", "83.90"), ("mug", "85.15"), ("bu3dfe", "64.05")])
def test_the_papers_table_stands_beside(tmp_path: Path, protocol: str, number: str) -> None:
    draw_results(tmp_path, {"balanced": 1.0}, folds=1, seeds=1, protocol=protocol)
    markdown, page = read(tmp_path)
    assert number in markdown
    width = {len(row) for row in page.rows if row and row[0] in ("StarGAN", "CycleGAN", "LSSL")}
    assert width == ({5} if protocol == "bu3dfe" else {3})
    accuracy = 100 * read_cells(tmp_path)[0].record["metrics"]["accuracy"]
    assert [row for row in page.rows if row[0] == "balanced" and row[-1] == f"{accuracy:.1f} ± 0.0"]


def test_stand_ins_are_named(tmp_path: Path) -> None:
    draw_results(tmp_path, {"balanced": 1.0}, folds=1, seeds=1, simulated=True)
    assert "simulated stand-ins" in read(tmp_path)[0]


def test_bad_notes(tmp_path: Path) -> None:
    draw_results(tmp_path, {"balanced": 1.0}, folds=1, seeds=1)
    for text in ("{", '{"a": 1}', "[1]"):
        (tmp_path / "left_out.json").write_text(text)
        with pytest.raises(SchemaError, match="left_out"):
            write_report(tmp_path, draws=10)


def test_the_same_files_give_the_same_report(tmp_path: Path) -> None:
    draw_results(tmp_path, {"balanced": 1.0, "lssl": 2.0}, folds=1)
    first = [path.read_bytes() for path in write_report(tmp_path, draws=40)]
    assert first == [path.read_bytes() for path in write_report(tmp_path, draws=40)]
    assert np.all([b"nan" not in page for page in first])


def test_arms_at_the_same_plain_accuracy(tmp_path: Path) -> None:
    counts = {"neutral": 400, "happiness": 100, "surprise": 25}
    draw_results(tmp_path, {"balanced": 0.5, "balanced-prior": 0.5, "lssl": 1.5}, n_train=counts, n_synthetic=0)
    markdown, page = read(tmp_path)
    assert "| arm, at a cost in accuracy of | 0 | 1 | 2 | 4 |" in markdown
    (regime,) = summarise_cells(read_cells(tmp_path), draws=60)
    at = next(i for i, row in enumerate(page.rows) if row and row[0] == "arm, at a cost in accuracy of")
    rows = {row[0]: row[1:] for row in page.rows[at + 1 : at + 3]}
    assert rows["balanced"] == [f"{100 * best:.1f}" for best in regime.trade_offs["balanced"].best]
    assert list(rows) == ["balanced", "lssl"]  # balanced-prior is a point of balanced's curve
    curve = regime.trade_offs["lssl"]
    wanted = [
        f"{100 * best:.1f} ({100 * gain:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})"
        for best, gain, (low, high) in zip(curve.best, curve.gain, curve.interval, strict=True)
    ]
    assert rows["lssl"] == wanted
    drawing = (tmp_path / "figures" / "trade-off-0.svg").read_text()
    assert drawing.count("<polyline") == 2
    assert "plain accuracy" in drawing
