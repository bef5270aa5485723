"""What signals do to a command, in a process of its own."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, signal, sys
from qcheck.cli.interrupts import Interrupted, listen_to_signals, run_async

async def waits():
    print("up", flush=True)
    await asyncio.sleep(60)

async def works():
    print("up", flush=True)
    while True:
        pass

if "background" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
listen_to_signals()
try:
    run_async(globals()[sys.argv[1]](), "go on")
except Interrupted as ended:
    print(ended)
"""


@pytest.mark.parametrize(("job", "twice"), [("waits", False), ("works", True)])
@pytest.mark.parametrize(
    ("where", "sign"), [("terminal", signal.SIGTERM), ("background", signal.SIGTERM), ("terminal", signal.SIGHUP)]
)
def test_a_signal_ends_what_waits_and_the_second_one_what_does_not(job, twice, where, sign):
    command = [sys.executable, "-c", SCRIPT, job, where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            process.send_signal(sign)
            if twice:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5)
                process.send_signal(sign)
            process.wait(timeout=30)
            assert (process.stdout.read(), process.stderr.read()) == ("go on\n", "")
        finally:
            process.kill()


def test_a_closed_terminal_ends_nothing_under_nohup():
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + SCRIPT
    command = [sys.executable, "-c", script, "waits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGHUP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
        finally:
            process.kill()
