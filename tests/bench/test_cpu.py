"""Time on a processor: of whom it is counted."""

import os
import subprocess
import sys
import time

from bench import cpu

BUSY = """
import sys, time
while time.process_time() < 0.2: pass
print(flush=True)
sys.stdin.read()
"""


def test_the_time_of_a_process_and_its_children_is_counted_and_a_workers_is_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        assert child.stdin
        child.stdout.readline()
        assert cpu.descendants([os.getpid()]).count(child.pid) == 1
        assert 0.15 < cpu.spent([child.pid], None).python < 5
        assert 0.15 < cpu.spent([], child.pid).postgres < 5
        child.stdin.close()
    assert cpu.seconds(child.pid) == 0
    with subprocess.Popen([sys.executable, "-c", BUSY, "worker"], stdin=subprocess.PIPE) as worker:
        while cpu.seconds(worker.pid) < 0.1:
            time.sleep(0.01)
        assert cpu.spent([worker.pid], None).python == 0
        assert worker.stdin
        worker.stdin.close()


def test_what_is_spent_is_told_per_reservation() -> None:
    before, after = cpu.Spent(1, 2, 3), cpu.Spent(2, 4, 3.5)
    assert after.since(before).each(10_000) == {
        "python_us": 100,
        "postgres_us": 200,
        "load_us": 50,
    }
