"""The paper's tables (arXiv 1905.00286), accuracy in %, to stand beside ours."""

from __future__ import annotations

__all__ = ["PAPER", "paper_rows"]

_Rows = dict[str, tuple[float, ...]]

_OULU: _Rows = {
    "HOG3D": (70.63,),
    "AdaLBP": (73.54,),
    "Atlases": (75.52,),
    "STM-ExpLet": (74.59,),
    "DTAGN": (81.46,),
    "StarGAN": (83.90,),
    "LSSL without side image": (84.70,),
    "LSSL without L_bi": (84.30,),
    "LSSL without L_p": (86.95,),
    "LSSL": (87.40,),
}
_MUG: _Rows = {
    "real": (90.42,),
    "CycleGAN": (84.40,),
    "IcGAN": (80.32,),
    "StarGAN": (85.15,),
    "LSSL without L_p": (89.91,),
    "LSSL": (90.35,),
}
_BU3DFE: _Rows = {
    "real profile": (70.15, 66.50, 58.90),
    "simulated frontal": (70.91, 65.90, 59.30),
    "CycleGAN": (71.60, 67.32, 61.50),
    "Lai & Lai": (71.45, 67.60, 61.95),
    "Zhang et al.": (71.72, 67.65, 62.10),
    "LSSL without L_p": (72.10, 68.52, 63.35),
    "LSSL": (72.70, 69.10, 64.05),
}

#: Rows of a table whose methods see whole sequences.
_OF_SEQUENCES = ("HOG3D", "AdaLBP", "Atlases", "STM-ExpLet", "DTAGN")
_SEQUENCE_CAPTION = "Table 1, methods that see whole sequences: 10-fold subject-independent, real"

#: Protocol → (which table, columns, rows).
PAPER: dict[str, tuple[str, tuple[str, ...], _Rows]] = {
    "oulu": ("Table 1: 10-fold subject-independent, real + synthetic", ("accuracy",), _OULU),
    "mug": ("Table 2: a ResNet-50 trained on real faces judges generated ones", ("accuracy",), _MUG),
    "bu3dfe": ("Table 3: VGG-Face, 5-fold, by yaw", ("±15°", "±30°", "±45°"), _BU3DFE),
}


def paper_rows(protocol: str, test_item: str = "face") -> tuple[str, tuple[str, ...], list[tuple[str, ...]]] | None:
    """Caption, columns and rows of the paper's table for a protocol; None where it has none.

    Args:
        test_item: ``face``: all rows, those of methods that see sequences are named as such; ``sequence``: these only.
    """
    if protocol not in PAPER:
        return None
    caption, columns, table = PAPER[protocol]
    rows = []
    for name, values in table.items():
        of_sequences = name in _OF_SEQUENCES
        if test_item == "face" or of_sequences:
            shown = f"{name} (sequences)" if of_sequences and test_item == "face" else name
            rows.append((shown, *(f"{v:.2f}" for v in values)))
    return (caption if test_item == "face" else _SEQUENCE_CAPTION, columns, rows) if rows else None
