"""``LSSLAugment``: faces of a training batch become the same people with another expression, labels
included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.models.yaw_range import check_yaw_range
from lssl_augment.transforms import arguments, pixels
from lssl_augment.transforms.engines import EngineStore, FaceEngine
from lssl_augment.transforms.landmarks import LandmarkPack, batch_landmarks, check_pack, pack_landmarks
from lssl_augment.transforms.randomness import DrawKey, fresh_seed, unit_interval, worker_place
from lssl_augment.transforms.record import AugmentRecord
from lssl_augment.transforms.sample import OpenSample, open_sample
from lssl_augment.transforms.targets import ClassMap, TargetFunction, resolve_counts, resolve_targets

__all__ = ["LSSLAugment"]


class LSSLAugment(nn.Module):
    """Give random faces of a batch another expression, and their labels with it.

    ``images, labels = augment(images, labels)`` after the ``DataLoader`` or inside ``collate_fn``; also any
    sample that ``torchvision.transforms.v2.MixUp`` takes, and ``(image, label)`` for one face. Faces must be
    square and aligned as :mod:`lssl_augment.faces.align` does it. What the batch is turned into is drawn
    first (:meth:`draw`) and then carried out (:meth:`replay`, a pure function); the drawn
    :class:`AugmentRecord` replays to the same pixels.

    Shape:
        - images: ``(B, 3, S, S)`` or grey ``(B, 1, S, S)``, S ≥ 16; uint8 in [0, 255] or floating in
          ``value_range``; type, dtype and device are kept. Rows not chosen come back bit for bit.
        - labels: ``(B,)`` of any integer dtype, in the order of ``classes``; −1 marks unlabelled rows, which
          are left alone.

    Args:
        p: chance of each row to be edited, in [0, 1]. 0 is the identity.
        targets: ``'uniform'`` over the classes the generator can make; ``'balance'`` so that the labels that
            come out are as even as ``p`` allows (see ``class_counts``); a list of class names or labels; a
            dict of class → weight; a callable ``(labels, generator) → labels`` (−1: leave the row alone); or
            ``'keep'``: the same expression from another donor, at another intensity.
        intensity: strength of the new expression, a number in [0, 1] or a range to draw from.
        yaw: degrees that heads of edited rows are turned to, positive towards larger x, or a range to draw from; for
            weights that know poses. None: heads keep their pose.
        weights: name or path of released weights, see :func:`lssl_augment.models.bundle.load_model`.
        value_range: ``(low, high)`` of floating images; None means (0, 1). uint8 is always [0, 255].
        classes: the class names behind your integer labels, in order; aliases such as ``happy`` are
            understood. None means the order of the weights' own vocabulary. Classes the generator cannot make
            are never targets, but their faces are still turned into others.
        landmarks: None: dense points come with the batch, or from the weights' landmark network. A
            ``FacePack``: they are looked up by ``index``.
        seed: whole number in [0, 2**63); None draws one once. It is kept as :attr:`seed`.
        labels_getter: ``'default'`` (torchvision's rule) or a callable from the sample to its labels tensor.
        return_record: also return the record: as a last item after a tuple, as ``(sample, record)``
            otherwise.
        device: where the network runs; None means where the images are. Results go back to the images'
            device.
        engine: your own engine instead of ``weights``; it works where it is.
        compute_dtype: ``torch.float32`` or ``torch.bfloat16`` for the network; None leaves it to the engine.
        class_counts: for ``'balance'``: number of training faces of each class (dict, or numbers in label
            order). Without it the labels seen so far by this object are counted.

    Raises:
        TypeError: for an argument of another type.
        DataError: for a value that cannot be used.
        WeightsError: when the weights are missing, damaged or refused.
    """

    def __init__(
        self,
        p: float = 0.5,
        targets: str | Sequence[str | int] | Mapping[str | int, float] | TargetFunction = "uniform",
        intensity: float | tuple[float, float] = (0.6, 1.0),
        weights: str | os.PathLike[str] = "lfw-128",
        value_range: tuple[float, float] | None = None,
        classes: Sequence[str] | Vocabulary | None = None,
        landmarks: LandmarkPack | None = None,
        seed: int | None = None,
        labels_getter: str | Callable[[Any], Tensor] = "default",
        return_record: bool = False,
        device: str | torch.device | None = None,
        engine: FaceEngine | None = None,
        compute_dtype: torch.dtype | None = None,
        class_counts: Mapping[str | int, float] | Sequence[float] | None = None,
        yaw: float | tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.p = arguments.check_fraction(p, "p")
        self.intensity = arguments.check_intensity(intensity)
        self.yaw = arguments.check_yaw(yaw)
        self.value_range = pixels.check_value_range(value_range)
        #: The seed all draws are keyed on.
        self.seed = fresh_seed() if seed is None else arguments.check_seed(seed)
        self.return_record = arguments.check_flag(return_record, "return_record")
        self.compute_dtype = arguments.check_compute_dtype(compute_dtype)
        self.device = arguments.check_device(device)
        self.weights = arguments.check_weights(weights)
        self._labels_getter = arguments.check_labels_getter(labels_getter)
        self._pack = None if landmarks is None else check_pack(landmarks)
        self._engines = EngineStore(self.weights, arguments.check_engine(engine), self.compute_dtype)
        first = self._engines.on(self.device or torch.device("cpu"))[0]
        if self.yaw is not None:
            check_yaw_range(first, *self.yaw)
        self._class_map = ClassMap.build(classes, first.vocabulary)
        self._policy = resolve_targets(targets, self._class_map)
        if class_counts is not None and self._policy.kind != "balance":
            raise DataError(
                f"class_counts only means something with targets='balance'; got targets={targets!r}"
            )
        self._given_counts = None if class_counts is None else resolve_counts(class_counts, self._class_map)
        self._seen_counts = np.zeros(len(self._class_map))
        # In shared memory, so that set_epoch reaches persistent DataLoader workers; −1: never set.
        self._epoch = torch.full((), -1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._calls = 0
        self._calls_epoch = -1

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self._class_map.names

    def set_epoch(self, epoch: int) -> None:
        """Key the next draws on this epoch, counting batches from 0: the same epoch gives the same draws.

        Reaches the workers of a ``DataLoader`` too. Until it is called, draws in workers also depend on the
        loader's own seed, which is new in every epoch.
        """
        self._epoch.fill_(arguments.check_seed(epoch, "epoch"))
        self._calls = 0

    def target_probabilities(self) -> dict[str, float] | None:
        """Chance of each class to be the target of an edited face now; None for ``'keep'`` and callables."""
        if self._policy.kind not in ("weights", "balance"):
            return None
        chances = self._policy.probabilities(self._class_map.makeable, self._counts(), self.p)
        return dict(zip(self.classes, chances.tolist(), strict=True))

    def draw(self, labels: Tensor | Sequence[int], *, index: Any = None) -> AugmentRecord:
        """Draw what to do with a batch, without touching an image.

        Args:
            labels: shape ``(B,)`` integers.
            index: dataset index of each row. With it, and after :meth:`set_epoch`, the draw of a row depends
                on (seed, epoch, index) alone, whatever the batch, the worker or the order.

        Returns:
            The record. Counts one batch: the next call draws anew.
        """
        source = arguments.check_labels(labels, self.classes)
        rows = list(range(len(source))) if index is None else arguments.check_index(index, len(source))
        key = self._next_key(by_index=index is not None)
        words = key.words(rows, count=6)
        chance, pick, strength = (unit_interval(words[:, i]) for i in range(3))
        labels_np = source.numpy()
        self._seen_counts += np.bincount(labels_np[labels_np >= 0], minlength=len(self.classes))

        chosen = (chance < self.p) & (labels_np >= 0)
        if self._policy.kind == "keep":
            targets = labels_np.copy()
            chosen &= self._class_map.makeable[np.maximum(labels_np, 0)]
        elif self._policy.kind == "callable":
            own = torch.Generator().manual_seed(int(np.bitwise_xor.reduce(words[:, 4])) >> 1)
            targets = self._policy.call(source, own, self._class_map)
            chosen &= targets >= 0
        else:
            chances = self._policy.probabilities(self._class_map.makeable, self._counts(), self.p)
            # Rounding must not let the last, possibly impossible, class in: search among the possible ones.
            possible = np.nonzero(chances)[0]
            place = np.searchsorted(np.cumsum(chances[possible]), pick, side="right")
            targets = possible[np.minimum(place, len(possible) - 1)]
        low, high = self.intensity
        yaws = np.full(len(rows), np.nan)
        if self.yaw is not None:
            first, last = self.yaw
            yaws = np.where(chosen, first + (last - first) * unit_interval(words[:, 5]), np.nan)
        return AugmentRecord(
            chosen=torch.from_numpy(chosen),
            source_labels=source,
            targets=torch.from_numpy(np.where(chosen, targets, labels_np).astype(np.int64)),
            intensity=torch.from_numpy(
                np.where(chosen, low + (high - low) * strength, 0.0).astype(np.float32)
            ),
            seeds=torch.from_numpy(np.where(chosen, (words[:, 3] >> np.uint64(1)).astype(np.int64), 0)),
            yaw_deg=torch.from_numpy(yaws.astype(np.float32)),
            classes=self.classes,
            seed=self.seed,
            epoch=key.epoch,
            call=key.call,
            worker=key.worker,
        )

    def forward(self, *inputs: Any, landmarks: Any = None, index: Any = None) -> Any:
        """Augment ``(images, labels)`` or a sample; see the class. Landmarks and index may also be entries
        ``landmarks_dense`` and ``index`` of a dict sample."""
        sample = open_sample(inputs, self._labels_getter)
        # Before drawing, so that a refused batch does not count.
        pixels.check_images(sample.images, self.value_range)
        arguments.check_labels(sample.labels, self.classes, batch=len(sample.images))
        points, rows = _extras(sample, landmarks, index)
        record = self.draw(sample.labels, index=rows)
        out = sample.rebuild(*self._carry_out(sample.images, sample.labels, record, points, rows))
        if not self.return_record:
            return out
        return (*out, record) if isinstance(out, (tuple, list)) else (out, record)

    def replay(self, *inputs: Any, landmarks: Any = None, index: Any = None) -> Any:
        """``replay(images, labels, record)`` or ``replay(sample, record)``: what the recorded call returned,
        pixel for pixel; pure: nothing is drawn or counted. Also carries out a record of :meth:`draw` for the
        first time.
        """
        if len(inputs) < 2 or not isinstance(inputs[-1], AugmentRecord):
            raise TypeError(
                "call replay(images, labels, record), or replay(sample, record), with an AugmentRecord last"
            )
        sample = open_sample(inputs[:-1], self._labels_getter)
        points, rows = _extras(sample, landmarks, index)
        return sample.rebuild(*self._carry_out(sample.images, sample.labels, inputs[-1], points, rows))

    def get_extra_state(self) -> dict[str, Any]:
        """Seed, epoch, batches drawn and labels counted: what a resumed run needs to go on as if never
        stopped.
        """
        return {
            "seed": self.seed,
            "epoch": int(self._epoch),
            "calls": self._calls,
            "calls_epoch": self._calls_epoch,
            "seen_counts": self._seen_counts.tolist(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if len(state["seen_counts"]) != len(self.classes):
            raise DataError(
                f"this state was saved with {len(state['seen_counts'])} classes; this LSSLAugment has "
                f"{len(self.classes)}: {', '.join(self.classes)}"
            )
        self.seed, self._calls, self._calls_epoch = state["seed"], state["calls"], state["calls_epoch"]
        self._epoch.fill_(state["epoch"])
        self._seen_counts = np.array(state["seen_counts"], np.float64)

    def extra_repr(self) -> str:
        targets = self.target_probabilities()
        shown = self._policy.kind if targets is None else {k: round(v, 3) for k, v in targets.items() if v}
        turned = "" if self.yaw is None else f"yaw={self.yaw}, "
        rest = f"intensity={self.intensity}, {turned}seed={self.seed}, weights={self.weights!r}"
        return f"p={self.p}, targets={shown}, {rest}"

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        # A plain pickle and a deep copy bring the epoch by value; a DataLoader's own pickler keeps it shared.
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def _counts(self) -> np.ndarray:
        return self._seen_counts if self._given_counts is None else self._given_counts

    def _next_key(self, by_index: bool) -> DrawKey:
        epoch = int(self._epoch)
        if epoch != self._calls_epoch:
            self._calls, self._calls_epoch = 0, epoch
        call = self._calls
        self._calls += 1
        if by_index and epoch >= 0:
            return DrawKey(self.seed, epoch, worker=0, base_seed=0, call=0, by_index=True)
        worker, base_seed = worker_place()
        if epoch >= 0:
            return DrawKey(self.seed, epoch, worker, base_seed=0, call=call, by_index=False)
        return DrawKey(self.seed, None, worker, base_seed, call, by_index=False)

    @torch.no_grad()
    def _carry_out(
        self, images: Tensor, labels: Tensor, record: AugmentRecord, landmarks: Any, index: Any
    ) -> tuple[Tensor, Tensor]:
        """Edit a batch as the record says, without randomness or state; the same objects when no row is."""
        low, high = pixels.check_images(images, self.value_range)
        source = arguments.check_labels(labels, self.classes, batch=len(images))
        self._check_record(record, source)
        size_px = images.shape[-1]
        points = None if landmarks is None else batch_landmarks(landmarks, len(images))
        if points is None and self._pack is not None and index is None:
            raise DataError(
                "landmarks=FacePack needs the row of each face in the pack: pass index=, or a sample with "
                "'index'"
            )
        rows = record.rows
        if not len(rows):
            return images, labels

        engine, device = self._engines.on(self.device or images.device)
        if points is not None:
            dense = _scaled(points[rows], size_px, engine.face_size_px)
        elif self._pack is not None:
            wanted = arguments.check_index(index, len(images))
            found, pack_size_px = pack_landmarks(self._pack, [wanted[i] for i in rows.tolist()])
            dense = _scaled(found, pack_size_px, engine.face_size_px)
        else:
            dense = None
        on_images = rows.to(images.device)
        faces = images.index_select(0, on_images)
        unit = pixels.to_unit(faces, low, high).to(device)
        small = pixels.resize(unit, engine.face_size_px)
        edited = self._edit(engine, device, small, dense, record, rows)
        change = pixels.change_at(unit, small, edited).to(images.device)
        out_images = images.clone()
        out_images[on_images] = pixels.paste(faces, change, low, high)
        on_labels = rows.to(labels.device)
        out_labels = labels.clone()
        out_labels[on_labels] = record.targets[rows].to(labels)
        return out_images, out_labels

    def _check_record(self, record: AugmentRecord, source: Tensor) -> None:
        if not isinstance(record, AugmentRecord):
            raise TypeError(f"record must be an AugmentRecord; got {type(record).__name__}")
        if record.classes != self.classes:
            raise DataError(
                f"the record was drawn for classes {record.classes}; this LSSLAugment has {self.classes}"
            )
        if not torch.equal(record.source_labels, source):
            raise DataError(
                f"the record was drawn for other labels ({len(record)} rows); replay it with the batch it "
                "came from"
            )

    def _edit(
        self,
        engine: FaceEngine,
        device: torch.device,
        small: Tensor,
        dense: Tensor | None,
        record: AugmentRecord,
        rows: Tensor,
    ) -> Tensor:
        # One more entry, −1, for unlabelled and for classes the generator does not know.
        to_generator = torch.tensor([*self._class_map.to_generator, -1])
        # Asked for only where it is wanted: an engine of one's own need not know of poses.
        yaws = record.yaw_deg[rows]
        turned = {} if bool(yaws.isnan().all()) else {"yaw_deg": yaws.to(device)}
        with self._engines.settings(engine, device):
            encoded = engine.encode(
                small,
                dense=None if dense is None else dense.to(device),
                labels=to_generator[record.source_labels[rows]].to(device),
            )
            edited = engine.edit(
                encoded,
                to_generator[record.targets[rows]].to(device),
                record.intensity[rows].to(device),
                record.seeds[rows].to(device),
                **turned,
            )
        if edited.shape != small.shape:
            raise DataError(
                f"the engine answered {tuple(edited.shape)} to faces of shape {tuple(small.shape)}"
            )
        return edited.float().clamp(-1.0, 1.0)


def _extras(sample: OpenSample, landmarks: Any, index: Any) -> tuple[Any, Any]:
    """Landmarks and index from the call, else from the sample; batched when the sample is one face."""
    points = sample.landmarks if landmarks is None else landmarks
    rows = sample.index if index is None else index
    if sample.single:
        points = None if points is None else torch.as_tensor(points).unsqueeze(0)
        rows = None if rows is None else [int(rows)]
    return points, rows


def _scaled(points: Tensor, from_px: int, to_px: int) -> Tensor:
    """Dense points in pixels of a ``from_px`` face → of a ``to_px`` face; pixel centres sit at integers."""
    factor = to_px / from_px
    out = points * factor
    out[..., :2] += 0.5 * factor - 0.5
    return out
