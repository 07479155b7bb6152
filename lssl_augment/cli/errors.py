"""How a command ends: one clear line on stderr and an exit status, never a traceback unless asked for."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable

import click

from lssl_augment.errors import LSSLError

__all__ = ["DEBUG_VARIABLE", "INTERRUPTED", "run_command"]

DEBUG_VARIABLE = "LSSL_AUGMENT_DEBUG"
#: Exit status after Ctrl-C, as shells count it: 128 + SIGINT.
INTERRUPTED = 130
_FULL = os.strerror(errno.ENOSPC)


def run_command(command: Callable[[], object], *, debug: bool | None = None) -> int:
    """Run a command and turn whatever it raises into an exit status.

    Args:
        command: does the work; an integer it returns is the exit status.
        debug: print the traceback too; the default asks the environment variable ``LSSL_AUGMENT_DEBUG``.

    Returns:
        0; 1 after an error; 2 after wrong usage; 130 after Ctrl-C. Faults of the program itself are not
        caught.
    """
    if debug is None:
        debug = os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    try:
        status = command()
        sys.stdout.flush()  # a reader that is gone shows here, not at the interpreter's exit
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return _fail(f"{error.format_message()}{hint}", error.exit_code, debug)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; finished work is kept", INTERRUPTED, debug)
    except BrokenPipeError:
        # The reader of our output is gone (`… | head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("not enough memory; a smaller batch size may help", 1, debug)
    except OSError as error:
        return _fail(_say_os_error(error), 1, debug)
    except LSSLError as error:
        return _fail(str(error), 1, debug)
    except RuntimeError as error:
        # torch reports exhausted memory as a RuntimeError, on the GPU as a subclass and on the CPU as such.
        if _FULL in str(error):  # h5py, when it closes a file on a full disk
            return _fail(_say_full(), 1, debug)
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        return _fail("not enough memory on the device; a smaller batch size may help", 1, debug)


def _say_os_error(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or _FULL in str(error):
        return _say_full(error.filename)
    if error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _say_full(filename: object = None) -> str:
    where = f" ({filename})" if filename else ""
    return f"the disk is full{where}; make room and run the command again: finished work is kept"


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    # One line, whatever libraries put into their messages.
    click.echo(f"lssl-augment: error: {' '.join(message.split())}", err=True)
    return status
