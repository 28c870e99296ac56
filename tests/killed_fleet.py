"""A dispatcher and three workers of which one is killed with SIGKILL now and then, for the scripts *_killed.py."""

import argparse
import pathlib
import shutil
import signal
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def config(source, sweep, further=""):
    """A configuration on SQLite and a directory cloud, whose source store is in the subscription `source`."""
    return f"""
[coordination]
backend = "embedded"
path = "goldfleet.db"
[cloud]
backend = "directory"
root = "cloud"
[source]
subscription = "{source}"
region = "westeurope"
account = "goldsource"
container = "golden"
[targets]
file = "targets.toml"
[worker]
lease = "3s"
[dispatch]
sweep = "{sweep}"
{further}"""


def arguments(doc):
    """A parser with the arguments that all scripts have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/debug")
    return parser


class Fleet:
    """A folder with a configuration, and the processes that work in it."""

    def __init__(self, name, text, programs, rng):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-killed-"))
        self.programs, self.rng, self.kills = programs.resolve(), rng, 0
        (self.folder / "goldfleet.toml").write_text(text)
        (self.folder / "targets.toml").touch()
        self.commands = [[self.programs / "goldfleet", "dispatcher"]] + [[self.programs / "goldfleet-worker"]] * 3
        self.processes = []

    def run(self, *words):
        command = [self.programs / "goldfleet", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True)

    def start(self):
        self.processes = [self.start_one(command) for command in self.commands]

    def start_one(self, command):
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_one(self):
        victim = self.rng.randrange(len(self.processes))
        self.processes[victim].send_signal(signal.SIGKILL)
        self.processes[victim].wait()
        self.processes[victim] = self.start_one(self.commands[victim])
        self.kills += 1

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait()

    def report(self, summary, faults):
        """Prints the result, and removes the folder if there is no fault. Returns the exit code."""
        print(summary)
        for fault in faults:
            print(f"FAULT: {fault} (files: {self.folder})")
        if not faults:
            shutil.rmtree(self.folder)
        return 1 if faults else 0
