"""The lab as a whole: starts the engines and the gateway that providers need, and ends them all."""

from __future__ import annotations

import importlib.util
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from qcheck.errors import ConfigurationError, StorageError, UnknownNameError
from qcheck.lab.catalog import DEPLOYMENTS, MODEL_ID, PREFIX, PROVIDERS, Deployment, LabProvider
from qcheck.lab.messages import EngineStart, GatewayStart, Upstream
from qcheck.lab.process import Child, close_all
from qcheck.registry.types import Endpoint, ModelProfile, Price

__all__ = ["MODELS_DIR", "Lab", "LabResolver"]

MODELS_DIR: Final = Path(__file__).with_name("models")
NOT_STARTED: Final = "http://127.0.0.1:0"


def _silence(_: str) -> None:
    pass


def _default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "qcheck", "lab")


def _provider(name: str) -> LabProvider:
    try:
        return PROVIDERS[name]
    except KeyError:
        raise UnknownNameError("lab provider", name, PROVIDERS) from None


def _endpoint(name: str, gateway_url: str) -> Endpoint:
    return Endpoint(
        name=PREFIX + name,
        display=f"lab:{name}",
        base_url=f"{gateway_url}/{name}/v1",
        model_id=MODEL_ID,
        key_env=None,
        price=Price(0.0, 0.0),
    )


class Lab:
    """Real local engines behind one gateway; use it as a context manager.

    Parameters
    ----------
    state_dir
        Where logs and the truth log go; without it a temporary folder, gone when the lab closes.
    models_dir, cache_dir
        Where the F16 models are and where other formats of them are kept.
    seed
        Of the gateway's draws, not negative; random unless given.
    on_progress
        Called with a few words before anything that takes time.

    Raises ConfigurationError if the packages of the extra `lab` are missing, and on Windows.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        models_dir: Path = MODELS_DIR,
        cache_dir: Path | None = None,
        seed: int | None = None,
        on_progress: Callable[[str], None] = _silence,
    ) -> None:
        if os.name != "posix":
            raise ConfigurationError("the lab runs on Linux and macOS only; check a remote provider instead.")
        if missing := [p for p in ("aiohttp", "gguf", "xllamacpp") if importlib.util.find_spec(p) is None]:
            raise ConfigurationError(f"the lab needs {', '.join(missing)}: pip install 'qcheck[lab]'")
        self.seed = secrets.randbits(32) if seed is None else seed
        self._models_dir = models_dir
        self._cache_dir = cache_dir or _default_cache()
        self._on_progress = on_progress
        self._scratch = None
        if state_dir is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="qcheck-lab-")
            state_dir = Path(self._scratch.name)
        self._state_dir = state_dir
        self._gateway: Child | None = None
        self._gateway_url: str | None = None
        self._engines: dict[str, Child] = {}
        self._engine_urls: dict[str, str] = {}
        self._endpoints: dict[str, Endpoint] = {}

    @property
    def truth_log(self) -> Path:
        """JSON lines of which deployment answered which request. Nothing that judges a provider may read it."""
        return self._state_dir / "truth.jsonl"

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of the provider `name`, whose engines run when this returns. Raises as `endpoints`."""
        return self.endpoints([name])[0]

    def endpoints(self, names: Iterable[str]) -> list[Endpoint]:
        """The endpoints of several providers, whose engines start side by side.

        Raises UnknownNameError, LabError for what does not start, StorageError for folders that cannot be written.
        """
        providers = [_provider(name) for name in names]
        wanted = dict.fromkeys(d for p in providers for d in p.deployments if d not in self._engines)
        if self._gateway is None:
            self._gateway = self._start("gateway", "gateway", GatewayStart(str(self.truth_log)))
        self._start_engines(tuple(wanted))
        return [self._serve(self._gateway, provider) for provider in providers]

    def _start(self, name: str, module: str, message: EngineStart | GatewayStart) -> Child:
        log = self._state_dir / f"{name}.log"
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            child = Child(f"the lab's {name}", f"qcheck.lab.{module}", log)
        except OSError as error:
            raise StorageError(f"cannot write {log}: {error.strerror}; choose another place.") from error
        child.send(message)
        return child

    def _start_engines(self, names: tuple[str, ...]) -> None:
        started: dict[str, Child] = {}
        try:
            for name in names:
                deployment = DEPLOYMENTS[name]
                model = self._model_file(deployment)
                self._on_progress(f"starting {name}")
                started[name] = self._start(f"engine-{name}", "engine", EngineStart(str(model), deployment.settings))
            urls = {name: child.receive()["url"] for name, child in started.items()}
        except BaseException:
            close_all(started.values())
            raise
        self._engines |= started
        self._engine_urls |= urls

    def _model_file(self, deployment: Deployment) -> Path:
        source = self._models_dir / deployment.model_file
        if deployment.format == "F16":
            return source
        from qcheck.lab.quantize import quantised_file  # noqa: PLC0415 - loads numpy, gguf and the inference library

        return quantised_file(source, deployment.format, self._cache_dir, self._on_progress)

    def _serve(self, gateway: Child, provider: LabProvider) -> Endpoint:
        """Tell the gateway of `provider`, once."""
        if self._gateway_url is None:
            self._gateway_url = gateway.receive()["url"]
        if provider.name not in self._endpoints:
            gateway.send(
                Upstream(
                    provider.name,
                    tuple((name, self._engine_urls[name]) for name in provider.deployments),
                    provider.route.fraction if provider.route else 0.0,
                    provider.system_prompt,
                    self.seed,
                )
            )
            gateway.receive()
            self._endpoints[provider.name] = _endpoint(provider.name, self._gateway_url)
        return self._endpoints[provider.name]

    def close(self) -> None:
        """End every process and remove the temporary folder; a second call does nothing."""
        gateway = [self._gateway] if self._gateway else []
        close_all([*gateway, *self._engines.values()])
        self._gateway = self._gateway_url = None
        for table in (self._engines, self._engine_urls, self._endpoints):
            table.clear()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LabResolver:
    """Resolves `lab/NAME`, and starts nothing before `started` is called. A context manager.

    What a name resolves to has an address where nobody listens yet, so that a dry run or a mistake elsewhere on the
    command line costs no engine.
    """

    def __init__(self, open_lab: Callable[[], Lab] = Lab) -> None:
        self._open_lab = open_lab
        self._lab: Lab | None = None

    def resolve(self, spec: str, model: ModelProfile) -> Endpoint | None:
        """The endpoint of the lab provider `spec`, not started; None for what is none. Raises UsageError."""
        if not spec.startswith(PREFIX):
            return None
        if spec not in self.names():
            raise UnknownNameError("provider", spec, self.names())
        if model.name != MODEL_ID:
            raise ConfigurationError(f"{spec} serves {MODEL_ID} only, not {model.name}; check {MODEL_ID} with it.")
        return _endpoint(spec.removeprefix(PREFIX), NOT_STARTED)

    def started(self, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """The endpoints, those of the lab with the addresses of engines that run; raises as `Lab`, `Lab.endpoints`."""
        names = [e.name.removeprefix(PREFIX) for e in endpoints if e.name.startswith(PREFIX)]
        if not names:
            return tuple(endpoints)
        if self._lab is None:
            self._lab = self._open_lab()
        urls = {e.name: e.base_url for e in self._lab.endpoints(names)}
        return tuple(replace(e, base_url=urls.get(e.name, e.base_url)) for e in endpoints)

    def names(self) -> tuple[str, ...]:
        """`lab/NAME` of every provider of the lab."""
        return tuple(PREFIX + name for name in PROVIDERS)

    def close(self) -> None:
        """Close the lab, if one was opened."""
        if self._lab is not None:
            self._lab.close()
            self._lab = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
