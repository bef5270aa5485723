"""One PyTorch server in a process of its own: `python -m qcheck.lab.torch_engine`.

Standard input: one JSON line, an `EngineStart`, then nothing until the parent closes it.
Standard output: one JSON line, `{"url": …}` once the server answers, or `{"error": …}`.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Final

from qcheck.errors import LabError
from qcheck.jsonio import loads
from qcheck.lab.catalog import CudaSettings, TorchSettings
from qcheck.lab.messages import EngineStart
from qcheck.lab.process import live_with_parent, reply

__all__ = ["main"]

HOST: Final = "127.0.0.1"


def _leave_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for answers that are being computed


def _serve(start: EngineStart) -> None:
    """Serve for ever. Raises ModuleNotFoundError if the extra is not installed, LabError for what is no lab model."""
    os.environ["OMP_NUM_THREADS"] = str(start.settings.threads)  # torch.set_num_threads reaches its own thread only
    from aiohttp import web  # noqa: PLC0415

    from qcheck.lab.torch_engine.server import Server  # noqa: PLC0415

    application = Server(start).application()
    with socket.create_server((HOST, 0)) as listener:
        reply({"url": f"http://{HOST}:{listener.getsockname()[1]}"})
        web.run_app(application, sock=listener, access_log=None, print=None, handle_signals=False)


def main() -> None:
    """Serve until standard input ends."""
    live_with_parent()
    message = loads(sys.stdin.buffer.readline())
    settings = message["settings"]
    kind = CudaSettings if "fp8" in settings else TorchSettings
    start = EngineStart(message["model"], kind(**settings), message["template"])
    threading.Thread(target=_leave_with_input, daemon=True).start()
    try:
        _serve(start)
    except ModuleNotFoundError as error:
        reply({"error": f"the PyTorch engine needs {error.name}: pip install 'qcheck[torch]'"})
    except (LabError, OSError) as error:
        reply({"error": f"PyTorch cannot serve {start.model} ({error})"})
    os._exit(1)


if __name__ == "__main__":
    main()
