"""Metrics while training, cheap enough for every sample sheet: what a judge and the recogniser say of its edits.

Neither network takes part in training. The preview is a few training faces, so the numbers show where a run is going;
what a generator is worth on people it never saw, `lssl-augment evaluate` tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.models.recogniser_net import RecogniserNet, embed, load_recogniser
from lssl_augment.training.config import TrainConfig
from lssl_augment.training.objective import Preview
from lssl_augment.training.sheets import FLAT_GREY

__all__ = ["Monitor", "Seen", "load_monitor"]

#: A recogniser's similarity of source and result above which a result is as good as a copy.
_COPY = 0.995


@dataclass(frozen=True)
class Seen:
    """What a monitor found: values for the log, and sentences for people."""

    values: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Monitor:
    """Watches previews.

    Args:
        judge: uint8 faces → label of each; None: not measured. judge_classes: what its labels stand for.
        recogniser: None: not measured.
    """

    judge: Callable[[Tensor], Tensor] | None = None
    judge_classes: tuple[str, ...] = ()
    recogniser: RecogniserNet | None = None

    @torch.no_grad()
    def look(self, preview: Preview) -> Seen:
        """Measure a preview.

        Values: ``monitor/judge_accuracy``, the share of edits named as their target where the judge does not name the
        source so already, and ``monitor/judge_accuracy/CLASS``; ``monitor/identity_to_source``, the mean cosine of
        source and result, and ``monitor/identity_other_people``, that of two sources, which are mostly two people.
        """
        sources = _to_uint8(preview.sources)
        edits = _to_uint8(preview.edits.flatten(0, 1))
        count, targets = preview.edits.shape[:2]
        values: dict[str, float] = {}
        warnings: list[str] = []
        if self.judge is not None:
            known = {name: i for i, name in enumerate(self.judge_classes)}
            wanted = torch.tensor([known.get(name, -1) for name in preview.targets])
            said, shown = self.judge(edits).view(count, targets), self.judge(sources)
            counted = (shown[:, None] != wanted[None]) & (wanted >= 0)[None]
            right = (said == wanted[None]) & counted
            if bool(counted.any()):
                values["monitor/judge_accuracy"] = float(right.sum() / counted.sum())
                if float((said == shown[:, None])[counted].float().mean()) > 0.9:
                    warnings.append(
                        "the judge still names more than nine in ten edits as it names their sources: the generator "
                        "copies the source or ignores the wanted expression (or the run has only begun)"
                    )
            for column, name in enumerate(preview.targets):
                if bool(counted[:, column].any()):
                    share = right[:, column].sum() / counted[:, column].sum()
                    values[f"monitor/judge_accuracy/{name}"] = float(share)
        if self.recogniser is not None:
            before = embed(self.recogniser, sources)
            after = embed(self.recogniser, edits).view(count, targets, -1)
            alike = (after * before[:, None]).sum(2)
            values["monitor/identity_to_source"] = float(alike.mean())
            if count > 1:
                across = (before @ before.T)[~torch.eye(count, dtype=torch.bool)]
                values["monitor/identity_other_people"] = float(across.mean())
            changed = (edits.unflatten(0, (count, targets)).float() - sources[:, None].float()).abs().mean()
            if float(alike.mean()) > _COPY and float(changed) < 2 * FLAT_GREY:
                warnings.append(
                    "results are all but copies of their sources (similarity "
                    f"{float(alike.mean()):.3f}, {float(changed):.2f} grey levels apart)"
                )
        return Seen(values, tuple(warnings))


def load_monitor(config: TrainConfig, device: str = "cpu") -> Monitor:
    """The monitor a run asks for (``monitor_judge``, ``monitor_recogniser``).

    Raises:
        WeightsError: weights of another kind (a gate is no judge), or damaged.
        DataError: the judge does not know a class of ``config.classes``.
    """
    net = load_recogniser(config.monitor_recogniser, device) if config.monitor_recogniser else None
    if not config.monitor_judge:
        return Monitor(recogniser=net)
    from lssl_augment.evaluation.judges import load_judge  # evaluation comes after training; on first need only

    loaded = load_judge(Path(config.monitor_judge), device)
    missing = [name for name in config.classes if name not in loaded.vocabulary.names]
    if missing:
        raise DataError(
            f"the judge {config.monitor_judge} does not know {', '.join(missing)}; it knows "
            f"{', '.join(loaded.vocabulary.names)}"
        )
    return Monitor(loaded.says, loaded.vocabulary.names, net)


def _to_uint8(faces: Tensor) -> Tensor:
    return (faces.detach().float().cpu() + 1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
