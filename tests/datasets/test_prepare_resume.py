"""Killed, interrupted, run by several at once: the pack ends with the same bytes, and nothing done is done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lssl_augment.cli.prepare import prepare_command
from lssl_augment.datasets import prepare as prepare_module
from lssl_augment.datasets import prepare_journal, prepare_work
from lssl_augment.datasets.prepare import PrepareConfig, PrepareReport, prepare
from lssl_augment.datasets.prepare_journal import FacePart, Journal, finished_parts, parts_folder, write_part
from lssl_augment.errors import DataError
from lssl_augment.faces.pack import FacePack


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two photographs; worker processes from one part on."""
    for module in (prepare_module, prepare_journal):
        monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr("lssl_augment.datasets.prepare_key.CHUNK", 2)
    monkeypatch.setattr(prepare_module, "_LEAST_FOR_PROCESSES", 2)


def made(lfw: Path, out: Path, told: list[str] | None = None, **options: object) -> PrepareReport:
    config = PrepareConfig(out, landmarks="precomputed", **options)  # type: ignore[arg-type]
    return prepare("lfw-expressions", lfw, config, tell=None if told is None else told.append)


def stop_after(photos: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= photos:
            raise KeyboardInterrupt

    return progress


def interrupted(lfw: Path, out: Path, photos: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare("lfw-expressions", lfw, PrepareConfig(out, landmarks="precomputed"), progress=stop_after(photos))


@pytest.mark.usefixtures("small_parts")
def test_goes_on_where_it_stopped(lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "lfw.h5"
    made(lfw, tmp_path / "whole.h5")
    interrupted(lfw, out, photos=5)
    assert finished_parts(out) == 2
    assert not out.exists()
    cut: list[int] = []
    really = prepare_work.write_part
    monkeypatch.setattr(prepare_work, "write_part", lambda folder, i, part: (cut.append(i), really(folder, i, part)))
    told: list[str] = []
    report = made(lfw, out, told)
    assert cut == [2, 3]
    assert report.resumed == 4
    assert told == ["going on with lfw.h5: 4 of 7 photographs were done before"]
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["lfw", "lfw.h5", "whole.h5"]


@pytest.mark.usefixtures("small_parts")
def test_worker_processes_make_the_same_bytes(lfw: Path, tmp_path: Path) -> None:
    (lfw / "images" / "Bob_B" / "Bob_B_0001.png").write_bytes(b"no picture")
    made(lfw, tmp_path / "one.h5")
    seen: list[tuple[int, int]] = []
    config = PrepareConfig(tmp_path / "two.h5", landmarks="precomputed", workers=2)
    report = prepare("lfw-expressions", lfw, config, progress=lambda *at: seen.append(at))
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    assert report.skipped == {"unreadable image": 1}
    assert seen[-1] == (7, 7)
    assert len(seen) == 4  # a part at a time


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("change", ["file", "landmarks", "limit", "keep"])
def test_other_work_is_not_gone_on_with(change: str, lfw: Path, tmp_path: Path) -> None:
    out = tmp_path / "lfw.h5"
    interrupted(lfw, out, photos=5)
    options: dict[str, object] = {}
    if change == "file":
        image = lfw / "images" / "Eve_E" / "Eve_E_0001.png"
        image.write_bytes((lfw / "images" / "Dan_D" / "Dan_D_0001.png").read_bytes())
        os.utime(image, ns=(1, 1))
    elif change == "landmarks":
        with np.load(lfw / "landmarks.npz") as arrays:
            np.savez(lfw / "landmarks.npz", files=arrays["files"], points478=arrays["points478"] + 1)
    elif change == "limit":
        options["limit"] = 6
    told: list[str] = []
    report = made(lfw, out, told, **options)
    if change == "keep":  # the same again
        assert report.resumed == 4
        return
    assert report.resumed == 0
    assert len(told) == 1
    assert "of other data, options, weights or another version" in told[0]
    made(lfw, tmp_path / "fresh.h5", **options)
    assert out.read_bytes() == (tmp_path / "fresh.h5").read_bytes()


@pytest.mark.usefixtures("small_parts")
def test_labels_may_change_in_between(lfw: Path, tmp_path: Path) -> None:
    """Parts hold faces only: labels, splits and subjects are those of the last run."""
    interrupted(lfw, tmp_path / "a.h5", photos=5)
    labels = lfw / "labels.csv"
    labels.write_text(labels.read_text().replace("surprise", "sadness"))
    assert made(lfw, tmp_path / "a.h5").resumed == 4
    made(lfw, tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert FacePack.open(tmp_path / "a.h5").counts["train"]["surprise"] == 0


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not really", None])
def test_a_damaged_part_is_made_again(damage: bytes | None, lfw: Path, tmp_path: Path) -> None:
    out = tmp_path / "lfw.h5"
    interrupted(lfw, out, photos=7)
    part = parts_folder(out) / "000001.npz"
    data = part.read_bytes()
    # None: one byte of the pixels, as a disk may do.
    part.write_bytes(data[:9000] + bytes([data[9000] ^ 1]) + data[9001:] if damage is None else damage)
    made(lfw, out)
    made(lfw, tmp_path / "whole.h5")
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


SLOW = """
import sys, time
from pathlib import Path
from lssl_augment.datasets import prepare as p, prepare_journal as j, prepare_key as k
if __name__ == "__main__":
    p.CHUNK = j.CHUNK = k.CHUNK = 2
    p._LEAST_FOR_PROCESSES = 2
    def progress(done, total):
        print(done, flush=True)
        time.sleep(60)
    config = p.PrepareConfig(Path(sys.argv[2]), landmarks="precomputed", workers=int(sys.argv[3]))
    p.prepare("lfw-expressions", Path(sys.argv[1]), config, progress=progress if sys.argv[4] == "slow" else None)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_time(workers: int, lfw: Path, tmp_path: Path) -> None:
    out, script = tmp_path / "lfw.h5", tmp_path / "slow.py"
    script.write_text(SLOW)
    command = [sys.executable, str(script), str(lfw), str(out), str(workers)]
    with subprocess.Popen([*command, "slow"], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        _wait_until_alone(process.pid)  # its workers end with it
    assert not out.exists()
    subprocess.run([*command, "quick"], check=True, timeout=120)
    subprocess.run([*command[:3], str(tmp_path / "whole.h5"), "1", "quick"], check=True, timeout=120)
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not parts_folder(out).exists()


def _wait_until_alone(group: int) -> None:
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived the process that started them")


def die(*_: object) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.usefixtures("small_parts")
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_worker_is_one_clear_line(lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_work, "_work", die)
    with pytest.raises(DataError, match="a worker process was killed, perhaps because memory ran out") as caught:
        made(lfw, tmp_path / "lfw.h5", workers=2)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("small_parts")
def test_the_command_says_what_is_kept(lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "lfw.h5"
    arguments = ["lfw-expressions", "--root", str(lfw), "--out", str(out), "--workers", "1"]
    really = prepare_work.write_part

    def interrupt(folder: Path, index: int, part: FacePart) -> None:
        really(folder, index, part)
        if index == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(prepare_work, "write_part", interrupt)
    stopped = CliRunner().invoke(prepare_command, arguments)
    assert stopped.exit_code != 0
    assert f"stopped; 2 parts of at most 2 photographs are kept in {parts_folder(out)}" in stopped.stderr
    monkeypatch.setattr(prepare_work, "write_part", really)
    again = CliRunner().invoke(prepare_command, arguments)
    assert again.exit_code == 0, again.output
    assert "going on with lfw.h5: 4 of 7 photographs were done before" in again.stderr
    assert len(FacePack.open(out)) == 7


# --- the journal on its own ---------------------------------------------------------------------------------------


def part(photos: int = 3, dense: bool = True) -> FacePart:
    rng = np.random.default_rng(0)
    return FacePart(
        rows=np.arange(photos - 1),
        images=rng.integers(0, 256, (photos - 1, 128, 128, 3), dtype=np.uint8),
        landmarks=rng.random((photos - 1, 68, 2), np.float32),
        dense=rng.random((photos - 1, 478, 3), np.float32) if dense else None,
        landmarks_from=np.array(["bundled"] * (photos - 1)),
        skipped=np.array([photos - 1]),
        reasons=np.array(["unreadable image: é"]),
    )


def never() -> FacePart:
    raise AssertionError("the part is there")


@pytest.mark.parametrize("dense", [True, False])
def test_parts_come_back_as_they_were(dense: bool, tmp_path: Path) -> None:
    given = part(dense=dense)
    with Journal(tmp_path / "a.h5", "key", 2) as journal:
        assert journal.finished == frozenset()
        write_part(journal.folder, 1, given)
        (journal.folder / "000000.7.tmp").write_bytes(b"half of a part")
    with Journal(tmp_path / "a.h5", "key", 2) as journal:
        assert journal.finished == {1}
        assert not list(journal.folder.glob("*.tmp"))
        found = journal.read(1, never)
        assert journal.read(0, lambda: given) is given
    assert found.photos == 3
    for name, value in vars(given).items():
        assert np.array_equal(getattr(found, name), value) if value is not None else getattr(found, name) is None
    with Journal(tmp_path / "a.h5", "another", 2) as journal:
        assert (journal.finished, journal.discarded) == (frozenset(), 1)
    assert not list(tmp_path.iterdir())  # nothing to keep


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
def test_two_at_one_pack(lfw: Path, tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "lfw.h5", "key", 1),
        pytest.raises(DataError, match=r"another process is preparing lfw\.h5; wait for it"),
    ):
        made(lfw, tmp_path / "lfw.h5")
    assert made(lfw, tmp_path / "lfw.h5").faces == 7


@pytest.mark.usefixtures("small_parts")
def test_a_full_disk_keeps_what_is_done(lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "lfw.h5"
    really, calls = np.savez, []

    def full(file: object, **arrays: np.ndarray) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        really(file, **arrays)  # type: ignore[arg-type]

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match=r"the disk is full .*finished parts are kept in .*Make room and run the same"):
        made(lfw, out)
    assert finished_parts(out) == 2
    assert not list(parts_folder(out).glob("*.tmp"))
    assert made(lfw, out).resumed == 4
