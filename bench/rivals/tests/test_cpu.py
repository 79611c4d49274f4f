"""CPU of a process tree: what a child burns is seen while it lives and after it has been reaped."""

import os
import subprocess
import sys
import time

from apex_fast.cli.bench.cpu import tree_cpu_s

BURN = "import time\nwhile time.process_time() < {burn_s}: pass\n"
NESTED = "import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"


def test_a_reaped_grandchild_counts() -> None:
    before_s = tree_cpu_s([os.getpid()])
    code = BURN.format(burn_s=0.3)
    subprocess.run([sys.executable, "-c", NESTED.format(code=code)], check=True)
    assert tree_cpu_s([os.getpid()]) - before_s >= 0.28


def test_a_living_child_counts_and_a_stranger_does_not() -> None:
    code = BURN.format(burn_s=0.3) + "print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert tree_cpu_s([child.pid]) >= 0.28
        begin = time.process_time()
        while time.process_time() - begin < 0.2:
            pass
        assert tree_cpu_s([child.pid]) < 0.45
        child.communicate(b"\n")


def test_a_process_that_is_gone_counts_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert tree_cpu_s([child.pid]) == 0.0
