"""Programs that take turns: each does one run for every line on its standard input, and answers with the nanoseconds that it took."""

import os
import statistics
import subprocess
import time

START = 300  # seconds until a program must be ready: PyTorch may compile its network first


class Program:
    """A program that says `ready` and then answers each line with nanoseconds."""

    def __init__(self, name, command, environment=None):
        self.name = name
        environment = {**os.environ, **(environment or {})}
        command = [str(word) for word in command]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.times = []

    def wait(self):
        line = self.process.stdout.readline()
        if line.split()[:1] != ["ready"]:
            raise SystemExit(f"{self.name}: expected it to be ready, got {line!r}")
        self.about = " ".join(line.split()[1:])

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with {self.process.wait()} while it was measured")
        return int(line) / 1e6

    def close(self):
        self.process.stdin.close()
        if self.process.wait(timeout=60) != 0:
            raise SystemExit(f"{self.name}: ended with {self.process.returncode}")


def take_turns(programs, rounds, warm_up=3, pause=0.0):
    """Milliseconds of each program, one run each a round, whoever was first last time being last. `pause`, in seconds, lies
    between runs, so that threads of the last one that still spin have come to rest."""
    for program in programs:
        program.wait()
    for turn in range(warm_up + rounds):
        first = turn % len(programs)
        for program in programs[first:] + programs[:first]:
            took = program.run()
            if turn >= warm_up:
                program.times.append(took)
            time.sleep(pause)
    for program in programs:
        program.close()


def quantile(values, share):
    """The value that this share of values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio(program, to):
    """Median of the ratios within each round: what slows the machine for a while slows both."""
    return statistics.median(one / other for one, other in zip(program.times, to.times))


def table(programs, to):
    lines = ["| | p50 ms | p95 ms | least ms | of its time |", "|---|---|---|---|---|"]
    for program in programs:
        figures = (statistics.median(program.times), quantile(program.times, 0.95), min(program.times), ratio(program, to))
        lines.append("| %s | %.1f | %.1f | %.1f | %.2f |" % (program.name, *figures))
    return "\n".join(lines)
