"""Weights are safetensors with a card, checked by name, shape and checksum; never unpickled."""

from __future__ import annotations

import http.server
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ogive.learning.card import ModelCard
from ogive.learning.download import downloaded
from ogive.learning.weights import Weights, fill_network, load_weights, save_weights
from ogive.model import InputError, OutputError

CARD = ModelCard(name="test", architecture="tiny", parameters=40, scores={"within_1px": 0.5})
OPTIONS = {"width": 3, "dilations": [1, 2]}


def network(channels: int = 3) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Conv2d(1, channels, 3), torch.nn.BatchNorm2d(channels))


def save(path: Path, **changes: Any) -> str:
    given = {"architecture": "tiny", "options": OPTIONS, "card": CARD} | changes
    return save_weights(path, given.pop("state", network().state_dict()), **given)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_weights_options_and_card_come_back(saved: Path) -> None:
    weights = load_weights(saved)
    assert weights.architecture == "tiny"
    assert weights.options == OPTIONS
    assert weights.card == CARD
    other = network()
    for value in other.state_dict().values():
        value.zero_()
    fill_network(other, weights, architecture="tiny")
    for name, value in network().state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
        assert other.state_dict()[name].dtype == value.dtype


def test_same_weights_are_the_same_bytes(tmp_path: Path, saved: Path) -> None:
    assert save(tmp_path / "again.safetensors") == load_weights(saved).sha256
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.dictionaries(
        st.text("abc.", min_size=1, max_size=6), st.lists(st.integers(0, 3), max_size=3), max_size=4
    ),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool]),
)
def test_any_state_comes_back(tmp_path: Path, shapes: Any, dtype: torch.dtype) -> None:
    state = {name: torch.ones(shape, dtype=dtype) for name, shape in shapes.items()}
    save(tmp_path / "any.safetensors", state=state)
    back = load_weights(tmp_path / "any.safetensors").state
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_tied_and_transposed_tensors_are_written(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    save(tmp_path / "tied.safetensors", state={"a": tensor, "b": tensor, "t": tensor.T})
    back = load_weights(tmp_path / "tied.safetensors").state
    assert torch.equal(back["t"], tensor.T)
    assert torch.equal(back["a"], back["b"])


def test_only_safetensors_are_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        save(tmp_path / "model.pt")
    with pytest.raises(InputError, match="not JSON-able"):
        save(tmp_path / "model.safetensors", options={"x": object()})
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        save(tmp_path / "file" / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- wrong files ------------------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "ran")


@pytest.mark.parametrize("kind", ["torch", "torch-legacy", "pickle-2", "pickle-5"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, kind: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / "model.safetensors"
    if kind.startswith("torch"):
        zipped = kind == "torch"
        torch.save({"weight": Bomb(mark)}, path, _use_new_zipfile_serialization=zipped)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark), protocol=int(kind[-1])))
    with pytest.raises(InputError, match=r"model\.safetensors is a pickle of PyTorch"):
        load_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content", [b"", b"short", b"cbuiltins\neval\n(S'1'\ntR.", bytes(100), b"\xff" * 64]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no whole safetensors file"):
        load_weights(path)


def test_a_cut_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-4])
    with pytest.raises(InputError, match="no whole safetensors file"):
        load_weights(saved)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, "was not written by ogive"),
        ({"format": "pt"}, "was not written by ogive"),
        ({"ogive": "{"}, "cannot be read"),
        ({"ogive": "[]"}, "cannot be read"),
        ({"ogive": '{"architecture": "tiny"}'}, "cannot be read"),
        ({"ogive": '{"architecture": 1, "options": {}, "card": {}}'}, "cannot be read"),
    ],
)
def test_strangers_and_broken_descriptions(tmp_path: Path, metadata: Any, said: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(InputError, match=said):
        load_weights(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        load_weights(tmp_path)


def changed(weights: Weights, **state: torch.Tensor | None) -> Weights:
    kept = {**weights.state, **{k.replace("__", "."): v for k, v in state.items()}}
    return Weights(
        {name: value for name, value in kept.items() if value is not None},
        *(weights.architecture, weights.options, weights.card, "w.safetensors", weights.sha256),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"0__bias": None}, r"it lacks 0\.bias"),
        ({"head__weight": torch.zeros(1)}, r"it has head\.weight, which the network has not"),
        ({"0__bias": torch.zeros(4)}, r"0\.bias is 4 in the file, 3 in the network"),
        (
            {"0__weight": torch.zeros(())},
            r"0\.weight is a single number in the file, 3 x 1",
        ),
        ({"0__bias": torch.zeros(3, dtype=torch.int32)}, r"0\.bias is torch\.int32"),
    ],
)
def test_tensors_that_do_not_fit(saved: Path, change: Any, said: str) -> None:
    target = network()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(InputError, match=rf"w\.safetensors does not fit .*: {said}"):
        fill_network(target, changed(load_weights(saved), **change), architecture="tiny")
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_many_missing_tensors_are_counted(saved: Path) -> None:
    weights = load_weights(saved)
    empty = changed(weights, **{name.replace(".", "__"): None for name in weights.state})
    with pytest.raises(InputError, match="and 4 more tensors"):
        fill_network(network(), empty, architecture="tiny")


def test_another_architecture(saved: Path) -> None:
    with pytest.raises(InputError, match="weights of the network 'tiny', not of 'unet'"):
        fill_network(network(), load_weights(saved), architecture="unet")


# -- checksums --------------------------------------------------------------------------------


def test_checksums_of_files(saved: Path) -> None:
    right = load_weights(saved).sha256
    assert load_weights(saved, sha256=right.upper()).sha256 == right
    assert load_weights(f"{saved}#sha256={right}").sha256 == right
    with pytest.raises(InputError, match=f"has the SHA-256 {right}, not {'0' * 64}"):
        load_weights(saved, sha256="0" * 64)
    with pytest.raises(InputError, match="which is right"):
        load_weights(f"{saved}#sha256={right}", sha256="0" * 64)
    for wrong in ("0" * 63, "x" * 64):
        with pytest.raises(InputError, match="64 hexadecimal digits"):
            load_weights(saved, sha256=wrong)
    with pytest.raises(InputError, match="without a checksum"):
        load_weights(f"{saved}#sha256=")


# -- from the web -----------------------------------------------------------------------------


class Server:
    """A web server on this machine, of a few files; counts what it is asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if self.path not in outer.files:
                    self.send_error(404, "Not Found")
                    return
                content = outer.files[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                cut = self.path in outer.cut
                self.wfile.write(content[: len(content) // 2] if cut else content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    web = Server()
    thread = threading.Thread(target=web.server.serve_forever, args=(0.01,))
    thread.start()
    yield web
    web.server.shutdown()
    thread.join()
    web.server.server_close()


def test_an_address_is_fetched_once_and_checked(
    web: Server, saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ogive")
    web.files["/w/tiny v1.safetensors"] = saved.read_bytes()
    web.files["/w/tiny%20v1.safetensors"] = saved.read_bytes()
    checksum = load_weights(saved).sha256
    url, cache = f"{web.address}/w/tiny%20v1.safetensors", tmp_path / "cache"
    first = load_weights(url, sha256=checksum, cache=cache)
    second = load_weights(f"{url}#sha256={checksum}", cache=cache)
    assert first.sha256 == second.sha256 == checksum
    assert first.source == url
    assert web.asked == ["/w/tiny%20v1.safetensors"]
    assert [path.name for path in cache.iterdir()] == [f"{checksum[:16]}-tiny_v1.safetensors"]
    assert "MB" in caplog.text


def test_a_damaged_cache_is_fetched_again(web: Server, saved: Path, tmp_path: Path) -> None:
    web.files["/w.safetensors"] = saved.read_bytes()
    checksum, cache = load_weights(saved).sha256, tmp_path / "cache"
    kept = downloaded(f"{web.address}/w.safetensors", sha256=checksum, cache=cache)
    kept.write_bytes(b"damaged")
    assert load_weights(f"{web.address}/w.safetensors#sha256={checksum}", cache=cache)
    assert len(web.asked) == 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/other.safetensors", "it is another file than was meant"),
        ("/none.safetensors", "was refused: 404 Not Found"),
        ("/cut.safetensors", "broke off"),
    ],
)
def test_failed_downloads_leave_nothing(
    web: Server, saved: Path, tmp_path: Path, path: str, said: str
) -> None:
    web.files["/other.safetensors"] = b"something else"
    web.files["/cut.safetensors"] = saved.read_bytes()
    web.cut.add("/cut.safetensors")
    cache, checksum = tmp_path / "cache", load_weights(saved).sha256
    with pytest.raises(InputError, match=said):
        load_weights(f"{web.address}{path}", sha256=checksum, cache=cache)
    assert list(cache.iterdir()) == []


def test_addresses_need_a_checksum_a_server_and_a_known_scheme(web: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a checksum"):
        load_weights(f"{web.address}/w.safetensors")
    assert web.asked == []
    for scheme in ("ftp://127.0.0.1", "file:///etc", "s3://bucket"):
        with pytest.raises(InputError, match="only http and https"):
            load_weights(f"{scheme}/w.safetensors", sha256="0" * 64, cache=tmp_path)
    with pytest.raises(InputError, match="cannot be downloaded"):
        load_weights("http://127.0.0.1:1/w.safetensors", sha256="0" * 64, cache=tmp_path)


def test_importing_ogive_does_not_import_torch() -> None:
    code = "import ogive, sys; ogive.match; ogive.invert; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
