"""The weights registry: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from lssl_augment.errors import WeightsError
from lssl_augment.models.weights import (
    KINDS,
    find_weights,
    list_weights,
    read_card,
    read_weights,
    write_weights,
)


def card(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "gate",
        "architecture": {"widths": [1, 2]},
        "class_names": ["neutral", "happiness"],
        "face_size_px": 128,
        "training": {"data": "drawn for a test"},
        "metrics": {},
        "licence": "none",
        "intended_use": "tests",
        **changes,
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tensors = {"w": torch.linspace(-2, 2, 12).view(3, 4), "mean": torch.tensor([1 / 3])}
    tensors["rows"] = torch.arange(4)
    return write_weights(tmp_path / "one.safetensors", tensors, card(), dtypes={"mean": torch.float32})


def edit_card(path: Path, **changes: Any) -> None:
    card_path = path.with_suffix(".json")
    card_path.write_text(json.dumps(json.loads(card_path.read_text()) | changes))


def test_round_trip(written: Path) -> None:
    tensors, found = read_weights(written, "gate")
    assert {k: t.dtype for k, t in tensors.items()} == {
        "w": torch.float32,
        "mean": torch.float32,
        "rows": torch.int64,
    }
    torch.testing.assert_close(tensors["w"], torch.linspace(-2, 2, 12).view(3, 4), rtol=1e-3, atol=1e-3)
    assert tensors["mean"].item() == pytest.approx(1 / 3, abs=1e-8)  # kept in float32
    assert tensors["rows"].tolist() == [0, 1, 2, 3]
    assert card().items() <= found.items()
    assert len(found["template68"]) == 68
    assert found["bytes"] == written.stat().st_size
    assert sorted(p.name for p in written.parent.iterdir()) == ["one.json", "one.safetensors"]


def test_floats_are_stored_in_half_precision(written: Path) -> None:
    with safe_open(written, "pt") as file:
        assert file.get_tensor("w").dtype == torch.float16
        assert file.get_tensor("mean").dtype == torch.float32
        assert file.get_tensor("rows").dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_integers_stay(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.tensor([0, 1, 100]).to(dtype)
    tensors, _ = read_weights(write_weights(tmp_path / "i.safetensors", {"q": values}, card()), "gate")
    assert tensors["q"].dtype == dtype
    assert torch.equal(tensors["q"], values)


def test_same_content_gives_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(3), "a": torch.zeros(2)}
    one = write_weights(tmp_path / "one.safetensors", tensors, card())
    two = write_weights(tmp_path / "two.safetensors", dict(reversed(tensors.items())), card())
    assert one.read_bytes() == two.read_bytes()


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    base = torch.arange(6.0).view(2, 3)
    path = write_weights(tmp_path / "v.safetensors", {"a": base, "b": base.T}, card())
    tensors, _ = read_weights(path, "gate")
    assert torch.equal(tensors["b"], base.T)


def test_a_failed_write_leaves_the_old_file(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(WeightsError, match="'w' has values that are not finite"):
        write_weights(written, {"w": torch.tensor([float("nan")])}, card())
    assert written.read_bytes() == before
    assert len(list(written.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("tensors", "changes", "dtypes", "message"),
    [
        ({"w": torch.tensor([1e6])}, {}, {}, "too large for torch.float16"),
        ({"w": torch.ones(1)}, {}, {"v": torch.float32}, "not there: v"),
        ({"w": torch.ones(1)}, {"kind": "critic"}, {}, "unknown kind of weights 'critic'; allowed: gen"),
        ({"w": torch.ones(1)}, {"schema_version": 7}, {}, "schema_version 7"),
        ({"w": torch.ones(1)}, {"metrics": {"x": float("nan")}}, {}, "cannot be written as JSON"),
        ({"w": torch.ones(1)}, {"metrics": {"x": torch.ones(1)}}, {}, "cannot be written as JSON"),
    ],
)
def test_write_refuses(
    tmp_path: Path, tensors: dict[str, torch.Tensor], changes: dict[str, Any], dtypes: Any, message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        write_weights(tmp_path / "x.safetensors", tensors, card(**changes), dtypes=dtypes)
    assert not list(tmp_path.iterdir())


def test_write_refuses_other_suffixes_and_bare_cards(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"NAME\.safetensors; got 'x\.pt'"):
        write_weights(tmp_path / "x.pt", {}, card())
    with pytest.raises(WeightsError, match="lacks architecture, class_names"):
        write_weights(tmp_path / "x.safetensors", {}, {"kind": "gate"})


def test_one_changed_bit_is_refused(written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[-1] ^= 1
    written.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged: sha256"):
        read_weights(written, "gate")


@given(cut=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: float) -> None:
    path = write_weights(tmp_path_factory.mktemp("w") / "t.safetensors", {"w": torch.ones(40)}, card())
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(WeightsError, match=r"truncated|empty|refused"):
        read_weights(path, "gate")


class Bomb:
    """Unpickling one of these would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "m.pth", "m.ckpt"])
@pytest.mark.parametrize("form", ["zip", "legacy", 2, 3, 4, 5])
def test_pickles_are_refused_by_content_and_never_run(tmp_path: Path, name: str, form: str | int) -> None:
    path, trace = tmp_path / name, tmp_path / "was-run"
    if isinstance(form, int):
        path.write_bytes(pickle.dumps(Bomb(trace), protocol=form))
    else:
        torch.save({"w": Bomb(trace)}, path, _use_new_zipfile_serialization=form == "zip")
    path.with_suffix(".json").write_text(json.dumps(card()))
    with pytest.raises(WeightsError, match=r"refused: .*pickles can run any code.*give a \.safetensors file"):
        read_weights(path, "gate")
    assert not trace.exists()


def test_a_header_that_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    # safetensors starts with the header's length; 640 is the bytes 80 02 00 …, as pickles of protocol 2 do.
    path = tmp_path / "h.safetensors"
    for padding in range(700):
        save_file({"w": torch.ones(1)}, path, metadata={"p": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    else:
        pytest.fail("no padding gave a header of 640 bytes")
    with pytest.raises(WeightsError, match="has no card"):
        find_weights(path, "gate")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"just some text, no weights", "not a safetensors file"),
        (bytes(64), "not a safetensors file"),
        (b"\x80", "not a safetensors file"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        find_weights(path, "gate")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be a JSON object; got list"),
        ("{}", "schema_version None"),
        ('{"schema_version": 2}', "schema_version 2; this version of lssl_augment reads 1"),
        ('{"schema_version": 1, "kind": "gate"}', "lacks architecture"),
    ],
)
def test_bad_cards_are_refused(written: Path, text: str, message: str) -> None:
    written.with_suffix(".json").write_text(text)
    with pytest.raises(WeightsError, match=message):
        read_card(written)


def test_card_values_are_checked(written: Path) -> None:
    edit_card(written, bytes="many")
    with pytest.raises(WeightsError, match="bytes as an integer"):
        read_weights(written, "gate")
    edit_card(written, bytes=1, kind="oracle")
    with pytest.raises(WeightsError, match="unknown kind of weights 'oracle'"):
        read_weights(written, "gate")


def test_weights_of_another_kind_and_without_card_are_refused(written: Path) -> None:
    with pytest.raises(WeightsError, match="kind 'gate', but 'generator' is needed"):
        read_weights(written, "generator")
    written.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"one\.json must lie beside it"):
        read_weights(written, "gate")


def test_names_and_paths(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights are called 'nowhere'; weights of kind") as caught:
        find_weights("nowhere", "gate")
    assert all(name in str(caught.value) for name in list_weights("gate"))
    with pytest.raises(WeightsError, match="no such weights file"):
        find_weights(tmp_path / "nowhere.safetensors", "gate")
    with pytest.raises(WeightsError, match="is a folder"):
        find_weights(tmp_path, "gate")
    with pytest.raises(WeightsError, match="unknown kind of weights 'umpire'"):
        find_weights("gate", "umpire")
    with pytest.raises(TypeError, match="a name or a path; got int"):
        find_weights(3, "gate")  # type: ignore[arg-type]


def test_released_weights_are_sound() -> None:
    assert sorted(list_weights()) == sorted(name for kind in KINDS for name in list_weights(kind))
    assert "gate" in list_weights("gate")
    for kind in KINDS:
        for name in list_weights(kind):
            tensors, found = read_weights(name, kind)
            assert tensors
            assert all(found[key] for key in ("training", "metrics", "licence", "intended_use"))
