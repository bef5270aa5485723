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
from typing import Final, Literal, Self

from qcheck.errors import ConfigurationError, StorageError
from qcheck.lab.catalog import MODELS, PREFIX, CudaSettings, TorchSettings, deployments_of
from qcheck.lab.messages import EngineStart, GatewayStart, Upstream
from qcheck.lab.process import Child, close_all
from qcheck.lab.spec import ProviderSpec, parse_spec
from qcheck.registry.types import Dialect, Endpoint, ModelProfile, Price, PromptFormat

__all__ = ["MODELS_DIR", "Lab", "LabResolver"]

Module = Literal["gateway", "engine", "torch_engine"]
Engine = tuple[str, str]  # model, deployment

MODELS_DIR: Final = Path(__file__).with_name("models")
# `chat_template.jinja` without further values.
PROMPT_FORMAT: Final = PromptFormat(
    begin="<|bos|>",
    system="<|system|>{content}<|end|>",
    user="<|user|>{content}<|end|>",
    assistant="<|assistant|>{content}<|end|>",
    answer="<|assistant|>",
    no_thought="",
)
NATIVE_FP8: Final = (8, 9)  # compute capability from which a GPU multiplies FP8
NOT_STARTED: Final = "http://127.0.0.1:0"
# What each child process needs, and the extra that installs it.
PACKAGES: Final[dict[Module, tuple[str, ...]]] = {
    "gateway": ("aiohttp",),
    "engine": ("gguf", "ml_dtypes", "xllamacpp"),
    "torch_engine": ("aiohttp", "gguf", "jinja2", "ml_dtypes", "tokenizers", "torch", "xllamacpp"),
}
EXTRAS: Final[dict[Module, str]] = {"gateway": "lab", "engine": "lab", "torch_engine": "torch"}


def _silence(_: str) -> None:
    pass


def _default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "qcheck", "lab")


def _need(module: Module) -> None:
    """Raise ConfigurationError if the packages of a child process are missing."""
    if missing := [p for p in PACKAGES[module] if importlib.util.find_spec(p) is None]:
        raise ConfigurationError(f"the lab needs {', '.join(missing)}: pip install 'qcheck[{EXTRAS[module]}]'")


def _need_gpu(engine: Engine) -> None:
    """Raise ConfigurationError if the deployment runs on a GPU alone, and none is here that can do what it does."""
    settings = deployments_of(engine[0])[engine[1]].settings
    if not isinstance(settings, CudaSettings):
        return
    import torch  # noqa: PLC0415 - takes seconds

    needed, missing = f"lab/{engine[1]} needs an NVIDIA GPU", "`qcheck lab list` says what needs none."
    if not torch.cuda.is_available():
        raise ConfigurationError(f"{needed}, and PyTorch {torch.__version__} finds none here: {missing}")
    if settings.fp8 and torch.cuda.get_device_capability() < NATIVE_FP8:
        raise ConfigurationError(f"{needed} that multiplies in FP8, which this one does not: {missing}")


def _module(engine: Engine) -> Module:
    model, deployment = engine
    return "torch_engine" if isinstance(deployments_of(model)[deployment].settings, TorchSettings) else "engine"


def _endpoint(spec: ProviderSpec, base_url: str) -> Endpoint:
    dialect = Dialect(
        thinking_off="chat_template_kwargs" if MODELS[spec.model].template.get("thinking") else None,
        plain_samples=None if spec.traits else "llama.cpp",  # a trait may change how samples are drawn
    )
    return Endpoint(
        name=PREFIX + spec.spec,
        display=f"lab:{spec.spec}",
        base_url=base_url,
        model_id=spec.model,
        key_env=None,
        dialect=dialect,
        price=Price(0.0, 0.0),
        prompt_format=None if MODELS[spec.model].template else PROMPT_FORMAT,
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
        _need("gateway")
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
        self._engines: dict[Engine, Child] = {}
        self._engine_urls: dict[Engine, str] = {}
        self._endpoints: dict[ProviderSpec, Endpoint] = {}

    @property
    def truth_log(self) -> Path:
        """JSON lines of which deployment answered which request. Nothing that judges a provider may read it."""
        return self._state_dir / "truth.jsonl"

    def endpoint(self, spec: str, model: str = "lab-tiny") -> Endpoint:
        """The endpoint of one provider, whose engines run when this returns. Raises as `endpoints`."""
        return self.endpoints([spec], model)[0]

    def endpoints(self, specs: Iterable[str], model: str = "lab-tiny") -> list[Endpoint]:
        """The endpoints of providers of `model`, given without "lab/", whose engines start side by side.

        Raises UsageError for a spec that is none, LabError for what does not start, StorageError for folders that
        cannot be written.
        """
        return self.serve([parse_spec(spec, model) for spec in specs])

    def serve(self, providers: Sequence[ProviderSpec]) -> list[Endpoint]:
        """As `endpoints`, for specs that are parsed already and may be of several models."""
        wanted = dict.fromkeys((p.model, d) for p in providers for d in p.deployments)
        self._start_engines([engine for engine in wanted if engine not in self._engines])
        if self._gateway is None:
            self._gateway = self._start("gateway", "gateway", GatewayStart(str(self.truth_log)))
        return [self._serve(self._gateway, provider) for provider in providers]

    def engine(self, deployment: str, model: str = "lab-tiny") -> Endpoint:
        """A deployment's engine without the gateway, for those who need many answers. Raises as `endpoints`."""
        spec = parse_spec(deployment, model)
        if spec.traits:
            raise ConfigurationError(f"{deployment} has traits, which are the gateway's: name a deployment alone.")
        engine = (model, spec.deployment)
        if engine not in self._engines:
            self._start_engines([engine])
        return _endpoint(spec, f"{self._engine_urls[engine]}/v1")

    def _start(self, name: str, module: Module, message: EngineStart | GatewayStart) -> Child:
        log = self._state_dir / f"{name}.log"
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            child = Child(f"the lab's {name}", f"qcheck.lab.{module}", log)
        except OSError as error:
            raise StorageError(f"cannot write {log}: {error.strerror}; choose another place.") from error
        child.send(message)
        return child

    def _start_engines(self, engines: Sequence[Engine]) -> None:
        for module in dict.fromkeys(map(_module, engines)):
            _need(module)
        for engine in engines:
            _need_gpu(engine)
        started: dict[Engine, Child] = {}
        try:
            for engine in engines:
                model, name = engine
                deployment = deployments_of(model)[name]
                file = self._weights_file(engine)
                self._on_progress(f"starting {name} of {model}")
                start = EngineStart(str(file), deployment.settings, MODELS[model].template)
                started[engine] = self._start(f"engine-{model}-{name}", _module(engine), start)
            urls = {engine: child.receive()["url"] for engine, child in started.items()}
        except BaseException:
            close_all(started.values())
            raise
        self._engines |= started
        self._engine_urls |= urls

    def _weights_file(self, engine: Engine) -> Path:
        from qcheck.lab.weights import weights_file  # noqa: PLC0415 - loads numpy, gguf and the inference library

        model, name = engine
        deployment = deployments_of(model)[name]
        weights = MODELS[model].sources[deployment.source]
        return weights_file(self._models_dir, weights, deployment.format, self._cache_dir, self._on_progress)

    def _serve(self, gateway: Child, provider: ProviderSpec) -> Endpoint:
        """Tell the gateway of `provider`, once."""
        if self._gateway_url is None:
            self._gateway_url = gateway.receive()["url"]
        if provider not in self._endpoints:
            path = f"p{len(self._endpoints)}"
            urls = {name: self._engine_urls[provider.model, name] for name in provider.deployments}
            gateway.send(Upstream(path, provider.spec, provider.model, urls, self.seed))
            gateway.receive()
            self._endpoints[provider] = _endpoint(provider, f"{self._gateway_url}/{path}/v1")
        return self._endpoints[provider]

    def close(self) -> None:
        """End every process and remove the temporary folder; a second call does nothing."""
        gateway = [self._gateway] if self._gateway else []
        close_all([*gateway, *self._engines.values()])
        self._gateway = self._gateway_url = None
        self._engines.clear()
        self._engine_urls.clear()
        self._endpoints.clear()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LabResolver:
    """Resolves `lab/…`, and starts nothing before `started` is called. A context manager.

    What a spec resolves to has an address where nobody listens yet, so that a dry run or a mistake elsewhere on the
    command line costs no engine.
    """

    def __init__(self, open_lab: Callable[[], Lab] = Lab) -> None:
        self._open_lab = open_lab
        self._lab: Lab | None = None

    def resolve(self, spec: str, model: ModelProfile) -> Endpoint | None:
        """The endpoint of the lab provider `spec`, not started; None for what is none. Raises UsageError."""
        if not spec.startswith(PREFIX):
            return None
        if model.name not in MODELS:
            known = ", ".join(MODELS)
            raise ConfigurationError(f"the lab does not serve {model.name}; it serves {known}: check one of these.")
        return _endpoint(parse_spec(spec, model.name), NOT_STARTED)

    def started(self, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """The endpoints, those of the lab with the addresses of engines that run; raises as `Lab`, `Lab.endpoints`."""
        ours = {e.name: parse_spec(e.name.removeprefix(PREFIX), e.model_id or "") for e in endpoints if _is_ours(e)}
        if not ours:
            return tuple(endpoints)
        if self._lab is None:
            self._lab = self._open_lab()
        urls = dict(zip(ours, (e.base_url for e in self._lab.serve(list(ours.values()))), strict=True))
        return tuple(replace(e, base_url=urls.get(e.name, e.base_url)) for e in endpoints)

    def names(self) -> tuple[str, ...]:
        """`lab/NAME` of every deployment of the lab."""
        return tuple(dict.fromkeys(PREFIX + name for model in MODELS for name in deployments_of(model)))

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


def _is_ours(endpoint: Endpoint) -> bool:
    return endpoint.name.startswith(PREFIX)
