"""What SIGTERM does to a command, in a process of its own."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, signal, sys
from qcheck.cli.interrupts import Interrupted, listen_to_sigterm, run_async

async def waits():
    print("up", flush=True)
    await asyncio.sleep(60)

async def works():
    print("up", flush=True)
    while True:
        pass

if "background" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
listen_to_sigterm()
try:
    run_async(globals()[sys.argv[1]](), "go on")
except Interrupted as ended:
    print(ended)
"""


@pytest.mark.parametrize(("job", "twice"), [("waits", False), ("works", True)])
@pytest.mark.parametrize("where", ["terminal", "background"])
def test_sigterm_ends_what_waits_and_the_second_one_what_does_not(job, twice, where):
    command = [sys.executable, "-c", SCRIPT, job, where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGTERM)
            if twice:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5)
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
            assert (process.stdout.read(), process.stderr.read()) == ("go on\n", "")
        finally:
            process.kill()
