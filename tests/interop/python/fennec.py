"""A broker that a program starts, kills and starts again itself, on a folder that outlives it."""

import os
import queue
import subprocess
import tempfile
import threading
from types import SimpleNamespace

from tap import PATIENCE

LISTENERS = ("mqtt", "http", "rawsocket")
# What a configuration may have beside them.
OTHERS = ("admin",)


class Fennec:
    """Used in a `with` block; `ports` is what `Device` and `connect` take for arguments. A configuration with listeners has all of them, the
    others are given free ports."""

    def __init__(self, args, config=""):
        self.args, self.folder = args, tempfile.TemporaryDirectory()
        self.listens = "[listen]" in config
        self.config = os.path.join(self.folder.name, "fennec.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(config)
        self.start()

    def start(self):
        """Starts it, on other ports than before, and waits for them."""
        command = [self.args.fennec, "--config", self.config, "--data", os.path.join(self.folder.name, "data")]
        for listener in () if self.listens else LISTENERS:
            command += [f"--{listener}", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = queue.Queue()
        threading.Thread(target=self._follow, args=(self.process.stdout, said), daemon=True).start()
        found = {}
        # The realm is what it says behind all listeners.
        while (words := said.get(timeout=PATIENCE)) is None or words[:1] != ["realm"]:
            assert words is not None, "the broker has ended"
            if len(words) > 1 and words[0] in LISTENERS + OTHERS:
                found[words[0]] = int(words[1].rsplit(":", 1)[1])
        self.ports = SimpleNamespace(**{**vars(self.args), **found})

    @staticmethod
    def _follow(output, said):
        for line in output:
            said.put(line.split())
        said.put(None)

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Kills it and starts the next."""
        self.kill()
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.folder.cleanup()
