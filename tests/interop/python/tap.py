"""Runs scenarios one after the other and says how each went, a TAP line each.

A scenario is a function, plain or async, that takes the parsed arguments. It waits for events only, each for at most
`PATIENCE` seconds; that nothing comes is shown by a later event that does come.
"""

import argparse
import asyncio
import inspect
import os
import sys
import traceback

# Seconds. Long, for a machine under load; only a failure ever takes so long.
PATIENCE = 20

_HERE = os.path.dirname(os.path.abspath(__file__))

_scenarios = []


def scenario(function):
    """Adds a function to what `run` runs; its name says the rule."""
    _scenarios.append(function)
    return function


def run(*options):
    """Runs all scenarios and ends the program. `options` are the names of further arguments."""
    parser = argparse.ArgumentParser()
    for listener in ("mqtt", "http", "rawsocket"):
        parser.add_argument(f"--{listener}", type=int)
        # The same over TLS, where there is one.
        parser.add_argument(f"--{listener}s", type=int)
    for option in options:
        parser.add_argument(f"--{option}")
    parser.add_argument("--only", help="run only the scenarios with this in their name")
    arguments = parser.parse_args()
    chosen = [one for one in _scenarios if (arguments.only or "") in one.__name__]
    print(f"1..{len(chosen)}")
    failed = [number for number, one in enumerate(chosen, 1) if not _passes(number, one, arguments)]
    sys.stdout.flush()
    sys.exit(1 if failed else 0)


def _passes(number, function, arguments):
    name = function.__name__.replace("_", " ")
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(asyncio.wait_for(function(arguments), 3 * PATIENCE))
        else:
            function(arguments)
    except BaseException as error:
        print(f"not ok {number} - {name}")
        for line in _told(error).splitlines():
            print(f"# {line}", flush=True)
        return False
    print(f"ok {number} - {name}", flush=True)
    return True


def _told(error):
    """The error and the lines of these programs that led to it; those of the libraries say little."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_HERE)]
    return f"{type(error).__name__}: {error}\n" + "".join(traceback.format_list(frames))


def same(found, expected):
    """Fails with both values unless they are equal."""
    assert found == expected, f"found {found!r}, expected {expected!r}"
