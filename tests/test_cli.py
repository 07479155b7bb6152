"""The command line: lazy commands, one clear line for each error, the right exit status."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from lssl_augment import __version__
from lssl_augment.cli.errors import run_command
from lssl_augment.cli.main import COMMANDS, cli, main
from lssl_augment.errors import DataError, LSSLError
from lssl_augment.models.weights import list_weights, write_weights

CARD = {
    "kind": "gate",
    "architecture": {"widths": [1, 2]},
    "class_names": ["neutral", "happiness"],
    "face_size_px": 128,
    "training": {"data": "drawn for a test"},
    "metrics": {},
    "licence": "none",
    "intended_use": "tests",
}


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def started(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_help_and_version_load_no_command_and_no_library() -> None:
    code = (
        "import sys\n"
        "from lssl_augment.cli.main import main\n"
        "try:\n    main(['{}'])\n"
        "except SystemExit as done:\n    assert done.code == 0\n"
        "print([m for m in sys.modules if m in ('torch', 'numpy', 'h5py', 'lssl_augment.cli.generate')])"
    )
    for flag, said in (("--help", "train-landmarks"), ("-h", "generate"), ("--version", __version__)):
        done = subprocess.run(
            [sys.executable, "-P", "-c", code.format(flag)], capture_output=True, text=True, check=True
        )
        assert said in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: cli {name}")
    assert COMMANDS[name][1].endswith(".")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("label 9 is not\n  allowed"), 1, "label 9 is not allowed"),
        (LSSLError("plain"), 1, "plain"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.h5"), 1, "a.h5: No such file"),
        (OSError("h5py says no"), 1, "h5py says no"),
        (OSError(errno.ENOSPC, "No space left on device", "b.h5"), 1, "the disk is full (b.h5); make room"),
        (OSError("write failed: errno = 28, 'No space left on device'"), 1, "the disk is full; make room"),
        (RuntimeError("file close failed: No space left on device"), 1, "the disk is full; make room"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "not enough memory on the device"),
        (MemoryError(), 1, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted; finished work is kept"),
        (click.Abort(), 130, "interrupted; finished work is kept"),
        (click.UsageError("no such thing"), 2, "no such thing"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors_end_in_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str, debug: bool
) -> None:
    assert run_command(raising(error), debug=debug) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"lssl-augment: error: {line}")
    assert ("Traceback" in err) == debug
    assert debug or len(err.splitlines()) == 1


def test_faults_of_the_program_are_not_hidden() -> None:
    for fault in (RuntimeError("shapes differ"), TypeError("three"), AssertionError()):
        with pytest.raises(type(fault)):
            run_command(raising(fault), debug=False)


def test_debug_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, traced in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("LSSL_AUGMENT_DEBUG", value)
        assert run_command(raising(DataError("x"))) == 1
        assert ("Traceback" in capsys.readouterr().err) == traced


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("generte") == 2
    assert capsys.readouterr().err.startswith("lssl-augment: error: No such command 'generte'")
    assert status_of("card", "--nope") == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "(see lssl-augment card --help)" in err


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import signal, time\n"
        # A test run in the background inherits a SIGINT that is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import click\n"
        "from lssl_augment.cli import main as m\n"
        "def wait():\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "m.cli.get_command = lambda ctx, name: click.Command('wait', callback=wait)\n"
        "m.main(['wait'])"
    )
    with started(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == "lssl-augment: error: interrupted; finished work is kept"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", {"w": torch.ones(1)}, CARD)
    path = str(tmp_path / "w.safetensors")
    with started(f"from lssl_augment.cli.main import main; main(['card', {path!r}, '--json'])") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_for_real(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x" * 4096)

    assert run_command(command, debug=False) == 1
    assert capsys.readouterr().err.startswith("lssl-augment: error: the disk is full")


def test_card_lists_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("card") == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sorted(name for name, _ in listed) == list_weights()

    path = write_weights(tmp_path / "w.safetensors", {"w": torch.ones(1)}, CARD)
    assert status_of("card", str(path)) == 0
    out = capsys.readouterr().out
    assert "class_names: neutral, happiness" in out
    assert "training:\n  data: drawn for a test" in out
    assert status_of("card", str(path), "--json") == 0
    assert CARD.items() <= json.loads(capsys.readouterr().out).items()


@pytest.mark.parametrize("name", ["nobody", "nobody.safetensors", "some/where"])
def test_card_of_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("card", name) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lssl-augment: error: no ")
    assert len(err.splitlines()) == 1


def test_card_of_damaged_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_weights(tmp_path / "w.safetensors", {"w": torch.ones(1)}, CARD)
    path.write_bytes(path.read_bytes()[:-1])
    assert status_of("card", str(path)) == 1
    assert "is truncated" in capsys.readouterr().err
