"""Did synthetic faces help? One sentence, and one for each regime: losses as plainly as wins."""

from __future__ import annotations

from collections.abc import Sequence

from lssl_augment.evaluation.controls import is_control
from lssl_augment.evaluation.statistics import ArmSummary, Gap, Regime
from lssl_augment.evaluation.statistics.summary import PRIMARY

__all__ = ["first_sentence", "regime_sentences", "regime_title"]

_WORDS = {"helped": "helped", "hurt": "hurt", "open": "made no difference that can be shown"}


def first_sentence(regimes: Sequence[Regime]) -> str:
    """The report's first sentence: about the best arm with synthetic faces of each regime."""
    best = [(regime, found) for regime in regimes if (found := best_synthetic(regime)) is not None]
    if not best:
        judged = [words for regime in regimes if (words := _judged(regime))]
        if judged:
            return " ".join(judged)
        return (
            "Whether synthetic faces help cannot be said from these results: no arm with synthetic faces can be "
            "compared with one without."
        )
    if len(best) == 1:
        regime, (arm, gap) = best[0]
        tried = sum(a.synthetic and not is_control(a.name) for a in regime.arms.values())
        chosen = f" (the best of {tried} arms with synthetic faces, chosen on the test faces)" if tried > 1 else ""
        return f"In {regime_title(regime)}, synthetic faces {_WORDS[gap.outcome]}: {_numbers(arm.name, gap)}{chosen}."
    counts = {outcome: [r for r, (_, gap) in best if gap.outcome == outcome] for outcome in _WORDS}
    parts = [f"{_WORDS[o]} in {len(rs)} of {len(best)} regimes" for o, rs in counts.items() if rs]
    return (
        f"Synthetic faces {' and '.join(parts)} (balanced accuracy of the best arm with synthetic faces against the "
        "best without)."
    )


def regime_sentences(regime: Regime) -> list[str]:
    """One sentence for each arm with synthetic faces."""
    out = []
    for arm in regime.arms.values():
        if arm.synthetic and arm.to_best_real is not None:
            kind = ", a control whose labels are shuffled," if is_control(arm.name) else ""
            gap = arm.to_best_real
            out.append(f"{arm.name}{kind} {_WORDS[gap.outcome]}: {_numbers(arm.name, gap)}.")
    return out


def best_synthetic(regime: Regime) -> tuple[ArmSummary, Gap] | None:
    """The arm with synthetic faces (no control) of the highest balanced accuracy, and its gap to the best without."""
    arms = [a for a in regime.arms.values() if a.synthetic and not is_control(a.name)]
    found = [(a, a.to_best_real) for a in arms if a.to_best_real is not None]
    return max(found, key=lambda pair: pair[0].mean[PRIMARY]) if found else None


def _judged(regime: Regime) -> str:
    """For a judge of generated faces, which are other faces than the real ones: shares named rightly, side by side."""
    made = [a for a in regime.arms.values() if a.synthetic and a.name != regime.best_real]
    if not made or regime.best_real is None or not any(note.startswith(made[0].name) for note in regime.notes):
        return ""
    real = regime.arms[regime.best_real]
    shares = ", ".join(f"{100 * a.mean['accuracy']:.1f} % of {a.name}'s" for a in made)
    return (
        f"In {regime_title(regime)}, a judge names {100 * real.mean['accuracy']:.1f} % of {real.name} faces rightly "
        f"and {shares}; whether training on generated faces helps is not what this measures."
    )


def regime_title(regime: Regime) -> str:
    """Protocol, regime and classifier in words."""
    simulated = " (simulated stand-in)" if regime.simulated and "(simulated)" not in regime.dataset else ""
    return f"{regime.dataset}{simulated}, {regime.name}, {regime.classifier}"


def _numbers(name: str, gap: Gap) -> str:
    low, high = gap.interval[PRIMARY]
    return (
        f"{name} differs from {gap.other}, the best arm without them, by {100 * gap.mean[PRIMARY]:+.1f} points of "
        f"balanced accuracy (95 % interval {100 * low:+.1f} to {100 * high:+.1f}) and by "
        f"{100 * gap.mean['accuracy']:+.1f} of plain accuracy"
    )
