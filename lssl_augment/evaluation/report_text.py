"""The report of an evaluation as a table for people; every number in it is in the JSON too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["report_text"]


def report_text(report: Mapping[str, Any]) -> str:
    """Plain text of what :func:`lssl_augment.evaluation.evaluate.evaluate` returns."""
    lines = [
        f"{report['sources']} faces of {report['source_subjects']} people of split {report['split']!r}, each edited to "
        "every other expression",
        *_fidelity(report),
        *_identity(report.get("identity")),
        *_kid(report["kid"]),
        *_displacement(report["displacement"]),
        "",
        f"Sharpness, result over source (variance of the Laplacian), quartiles: {_three(report['sharpness_ratio'])}",
        *_without(report),
        *_pose(report.get("pose")),
        *_tone(report["skin_tone"], report["classes"]),
        f"By sex and age: {report['sex_and_age']}.",
    ]
    return "\n".join(lines)


def _fidelity(report: Mapping[str, Any]) -> list[str]:
    table = report["label_fidelity"]
    header = ["named as the target", "edits", "real faces"]
    columns = [table["edits"], table["real"]]
    rows = [
        [name, *(_percent(column.get(name)) for column in columns)]
        for name in (*report["classes"], "balanced")
        if any(name in column for column in columns)
    ]
    note = (
        f"Judged by {table['judges']} classifier{'' if table['judges'] == 1 else 's'} of real training faces "
        "(no part of training or filtering); "
        f"edits over real, balanced: {100 * table['edits_over_real']:.1f} %"
    )
    return ["", *_grid([header, *rows]), note]


def _without(report: Mapping[str, Any]) -> list[str]:
    """What each part is worth: the same edits without it."""
    parts = report.get("without")
    if not parts:
        return []
    names = [name for name in (*report["classes"], "balanced") if name in report["label_fidelity"]["edits"]]
    whole = {"label_fidelity": report["label_fidelity"]["edits"], "sharpness_ratio": report["sharpness_ratio"]}
    if "identity" in report:
        whole["identity"] = report["identity"]["above_threshold"]
    whole["kid"] = report["kid"]
    rows = [["left out", *names, "KID", "identity", "sharpness"]]
    for words, row in {"nothing": whole, **parts}.items():
        passed = f"{100 * row['identity']:.1f} %" if "identity" in row else "–"
        shares = [_percent(row["label_fidelity"].get(name)) for name in names]
        kids = [row["kid"][name]["edits_to_real"]["mean"] for name in report["classes"] if name in row["kid"]]
        far = f"{sum(kids) / len(kids):.2f}" if kids else "–"
        rows.append([words, *shares, far, passed, f"{row['sharpness_ratio'][1]:.2f}"])
    told = (
        "Named as the target; mean KID to real faces of the targets; above the threshold of 0.1 % false accepts with "
        "their source; median sharpness ratio"
    )
    return ["", *_grid(rows), told]


def _identity(table: Mapping[str, Any] | None) -> list[str]:
    if table is None:
        return ["", "Identity: not measured"]
    verified = table["verification"]
    rows = [
        ["cosine, quartiles", "25 %", "50 %", "75 %"],
        *(
            [told, *(f"{v:.3f}" for v in table[key])]
            for told, key in (
                ("source and result", "source_to_result"),
                ("two photos of one person", "same_person"),
                ("two people", "two_people"),
            )
        ),
    ]
    lines = ["", *_grid(rows), f"Recogniser: {table['recogniser']}"]
    lines.append(
        f"On people it never saw: AUROC {verified['auroc']:.3f}; of pairs of one person it accepts "
        f"{100 * verified['tar_1e3']:.1f} % at 0.1 % false accepts, {100 * verified['tar_1e2']:.1f} % at 1 %"
    )
    lines.append(
        f"Results above the threshold of 0.1 % false accepts ({table['threshold']:.3f}) with their source: "
        f"{100 * table['above_threshold']:.1f} %"
    )
    if "another_photo" in table:
        other = table["another_photo"]
        lines.append(
            f"With another photo of the person: results {100 * other['result_above_threshold']:.1f} %, their sources "
            f"{100 * other['source_above_threshold']:.1f} % ({other['results']} results)"
        )
    return lines


def _kid(table: Mapping[str, Any]) -> list[str]:
    rows = [["KID, mean ± sd over subsets", "edits to real", "real to real", "faces a subset"]]
    for name, row in table.items():
        if name == "features":
            continue
        real = row.get("real_to_real")
        sizes = str(row["edits_to_real"]["size"]) + ("" if real is None else f" / {real['size']}")
        rows.append([name, _kid_value(row["edits_to_real"]), "–" if real is None else _kid_value(real), sizes])
    return ["", *_grid(rows), f"Features: {table['features']}"]


def _kid_value(row: Mapping[str, Any]) -> str:
    return f"{row['mean']:.3f} ± {row['sd']:.3f}"


def _displacement(table: Mapping[str, Any]) -> list[str]:
    rows = [["landmarks (eye distances)", "wanted", "right way", "mean move", "real classes"]]
    for target, measures in table.items():
        for name, row in measures.items():
            wanted = "up" if row["expected"] > 0 else "down"
            share = f"{100 * row['right_way']:.1f} %"
            rows.append([f"{target}: {name}", wanted, share, f"{row['mean_move']:+.4f}", f"{row['real_move']:+.4f}"])
    return ["", *_grid(rows)] if len(rows) > 1 else ["", "Landmark displacement: no class with a known direction"]


def _pose(table: Mapping[str, Any] | None) -> list[str]:
    """Heads turned, expressions kept; nothing for a generator without poses."""
    if table is None:
        return []
    rows = [["heads turned to", "mean ± sd", "off by", "real faces", "named as labelled", "same person", "sharpness"]]
    for pose, row in table.items():
        yaw = f"{row['yaw_deg']['mean']:.1f} ± {row['yaw_deg']['sd']:.1f}°"
        named = "–" if row["named_as_labelled"] is None else f"{100 * row['named_as_labelled']:.1f} %"
        if pose == "sources":
            rows.append(["(sources)", yaw, "", "", named, "", ""])
            continue
        same = "–" if row["same_person"] is None else f"{100 * row['same_person']:.1f} %"
        far = f"{row['mean_distance_deg']:.1f}°"
        real = "–" if row["real_yaw_deg"] is None else f"{row['real_yaw_deg']:.1f}° ({row['real_faces']})"
        rows.append([f"{pose}°", yaw, far, real, named, same, f"{row['sharpness_ratio']:.2f}"])
    told = (
        "Yaw as the landmark network reads it, also in real faces that are turned so; same person: above the threshold "
        "of 0.1 % false accepts with the source; sharpness: result over source"
    )
    return ["", *_grid(rows), told]


def _tone(table: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    groups = {name: row for name, row in table.items() if name != "measure"}
    shown = [name for name in classes if any(name in row["by_class"] for row in groups.values())]
    rows = [["apparent skin tone", "sources", "label fidelity", *shown, "identity", "sharpness ratio"]]
    for group, row in groups.items():
        identity = row["identity_above_threshold"]
        rows.append(
            [
                group,
                str(row["sources"]),
                f"{100 * row['label_fidelity']:.1f} %",
                *(_beside_real(row["by_class"].get(name)) for name in shown),
                "–" if identity is None else f"{100 * identity:.1f} %",
                f"{row['sharpness_ratio_median']:.2f}",
            ]
        )
    told = "By class: % of edits / % of real faces named rightly (real faces)"
    return ["", *_grid(rows), told, f"Skin tone: {table['measure']}"]


def _beside_real(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    real = "–" if row["real"] is None else f"{100 * row['real']:.0f}"
    return f"{100 * row['edits']:.0f} / {real} ({row['real_faces']})"


def _percent(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "–"
    spread = "" if value["sd"] is None else f" ± {100 * value['sd']:.1f}"
    return f"{100 * value['mean']:.1f}{spread} %"


def _three(values: list[float]) -> str:
    return ", ".join(f"{v:.2f}" for v in values)


def _grid(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
