"""TorchScript weights of the published layout, and that nothing in such a file runs."""

from __future__ import annotations

import pickle
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from ogive.learning.weights import fill_network, load_weights  # noqa: E402
from ogive.model import InputError  # noqa: E402
from ogive.similarity.convert import convert_deepsim, read_deepsim  # noqa: E402
from ogive.similarity.decision import Decision  # noqa: E402
from ogive.similarity.networks import PUBLISHED, build_network  # noqa: E402
from ogive.similarity.torchscript import read_torchscript  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

LEVELS = range(1, 5)


# ---- modules of the published layout, built here from its description ----------------------------


def normed(inputs: int, outputs: int, size: int = 3) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*normed(inputs, outputs), nn.ReLU(), *normed(outputs, outputs), nn.ReLU())


def enlarged(x, like):
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class LaidOutUNet(nn.Module):
    """Attributes are named as in the published files."""

    def __init__(self, w: int) -> None:
        super().__init__()
        for n in LEVELS:
            self.add_module(f"encoder{n}", block(1 if n == 1 else w << (n - 2), w << (n - 1)))
            self.add_module(f"upconv{n}", nn.ConvTranspose2d(w << n, w << (n - 1), 2, 2))
            if n > 1:
                self.add_module(f"decoder{n}", block(w << n, w << (n - 1)))
        self.bottleneck = block(8 * w, 16 * w)
        self.decoder1 = nn.Sequential(
            *normed(2 * w, 2 * w), nn.ReLU(), nn.Conv2d(2 * w, 2 * w, 3, padding=1, bias=False)
        )

    def encoded(self, x):
        skips = {}
        for n in LEVELS:
            x = skips[n] = self.get_submodule(f"encoder{n}")(x)
            x = functional.max_pool2d(x, 2)
        return skips, self.bottleneck(x)

    def forward(self, x):
        skips, x = self.encoded(x)
        for n in reversed(LEVELS):
            both = torch.cat([self.get_submodule(f"upconv{n}")(x), skips[n]], 1)
            x = self.get_submodule(f"decoder{n}")(both)
        return x


class LaidOutGate(nn.Module):
    def __init__(self, channels: int, signal: int) -> None:
        super().__init__()
        self.W = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.theta = nn.Conv2d(channels, channels, 2, 2, bias=False)
        self.phi = nn.Conv2d(signal, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)

    def forward(self, x, g):
        weight = torch.sigmoid(self.psi(functional.relu(self.theta(x) + self.phi(g))))
        return self.W(enlarged(weight, x) * x)


class LaidOutGates(nn.Module):
    def __init__(self, channels: int, signal: int) -> None:
        super().__init__()
        self.gate_block_1 = LaidOutGate(channels, signal)
        self.gate_block_2 = LaidOutGate(channels, signal)
        self.combine_gates = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, x, g):
        return self.combine_gates(torch.cat([self.gate_block_1(x, g), self.gate_block_2(x, g)], 1))


class LaidOutAttention(LaidOutUNet):
    def __init__(self, w: int) -> None:
        super().__init__(w)
        self.gating = nn.Module()
        self.gating.conv1 = nn.Sequential(
            nn.Conv2d(16 * w, 16 * w, 1), nn.BatchNorm2d(16 * w), nn.ReLU()
        )
        self.dsv1 = nn.Conv2d(w, w // 2, 1)
        for n in (2, 3, 4):
            self.add_module(f"attentionblock{n}", LaidOutGates(w << (n - 1), w << n))
            side = nn.Module()
            side.dsv = nn.Conv2d(w << (n - 1), w // 2, 1)
            self.add_module(f"dsv{n}", side)

    def forward(self, x):
        image = x
        skips, x = self.encoded(x)
        signal, sides = self.gating.conv1(x), {}
        for n in (4, 3, 2):
            gated = self.get_submodule(f"attentionblock{n}")(skips[n], signal)
            both = torch.cat([gated, self.get_submodule(f"upconv{n}")(x)], 1)
            signal = x = self.get_submodule(f"decoder{n}")(both)
            sides[n] = enlarged(self.get_submodule(f"dsv{n}.dsv")(x), image)
        sides[1] = self.dsv1(self.upconv1(x))
        return self.decoder1(torch.cat([sides[n] for n in LEVELS], 1))


class LaidOutResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Sequential(*normed(inputs, outputs)), nn.ReLU())
        self.conv2 = nn.Sequential(*normed(outputs, outputs))
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(*normed(inputs, outputs, 1))

    def forward(self, x):
        return self.conv2(self.conv1(x)) + (self.downsample(x) if self.downsample else x)


class LaidOutFusion(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        for kind in ("local", "global"):
            narrow, wide = (
                nn.Sequential(*normed(*sizes, 1))
                for sizes in ((channels, channels // 4), (channels // 4, channels))
            )
            self.add_module(f"{kind}_attention", nn.Sequential(narrow, nn.ReLU(), wide))

    def forward(self, x, y):
        w = torch.sigmoid(self.local_attention(x + y) + self.global_attention(x + y))
        return x * w + y * (1 - w)


class LaidOutMSAFF(nn.Module):
    def __init__(self, w: int) -> None:
        super().__init__()

        def chain(*channels: int) -> list[nn.Module]:
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(channels):
                layers += [nn.Sequential(*normed(inputs, outputs)), nn.ReLU()]
            return layers

        self.firstconv = nn.Sequential(*chain(1, w, w, w))
        for n in LEVELS:
            blocks = [LaidOutResidual(w if b == 0 else 2 * w, 2 * w) for b in range(3)]
            self.add_module(f"layer{n}", nn.Sequential(*blocks))
        self.MultiScaleFeatureFuser3_4 = LaidOutFusion(2 * w)
        self.MultiScaleFeatureFuser2_3_4 = LaidOutFusion(2 * w)
        self.MultiScaleFeatureFuser1_2_3_4 = LaidOutFusion(2 * w)
        last = nn.Conv2d(2 * w, 2 * w, 3, padding=1, bias=False)
        self.common = nn.Sequential(*chain(2 * w, 2 * w, 2 * w), last)

    def forward(self, x):
        maps = []
        for n in LEVELS:
            size = [side >> (n - 1) for side in x.shape[-2:]]
            small = functional.interpolate(x, size, mode="bilinear", align_corners=False)
            maps.append(self.get_submodule(f"layer{n}")(self.firstconv(small)))
        y = self.MultiScaleFeatureFuser3_4(maps[2], enlarged(maps[3], maps[2]))
        y = self.MultiScaleFeatureFuser2_3_4(maps[1], enlarged(y, maps[1]))
        return self.common(self.MultiScaleFeatureFuser1_2_3_4(maps[0], enlarged(y, maps[0])))


class LaidOutDecision(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        sizes = [2 * channels, hidden, hidden, hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.fl_blocks = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, x):
        return self.fl_blocks(x)


LAID_OUT = {"unet": LaidOutUNet, "unet-attention": LaidOutAttention, "ms-aff": LaidOutMSAFF}


def shaken(module: nn.Module) -> nn.Module:
    """In evaluation mode, with every tensor unlike the others."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.2)
            nn.init.normal_(part.bias, 0.0, 0.2)
            part.running_mean.normal_(0.0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return module.eval()


def traced(module: nn.Module, path: Path) -> Path:
    torch.jit.trace(module, torch.zeros(1, 1, 32, 32), check_trace=False).save(path)
    return path


# ---- the published layout ------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAID_OUT)
def test_converted_weights_give_the_same_features(name, tmp_path):
    published = shaken(LAID_OUT[name](4))
    path = tmp_path / "weights.safetensors"
    checksum = convert_deepsim(traced(published, tmp_path / "there.pt"), path, note="a test")
    weights = load_weights(path, sha256=checksum)
    network = build_network(weights.architecture, **weights.options).eval()
    fill_network(network, weights, architecture=name)
    assert weights.architecture == name
    assert weights.card.parameters == sum(p.numel() for p in network.parameters())
    assert weights.card.note == "converted from there.pt; a test"

    image = 255 * torch.rand(2, 1, 64, 48)
    scaled = (image / 255 - 0.434583236) / 0.1948717255
    with torch.inference_mode():
        ours = network(image, torch.ones_like(image, dtype=torch.bool))
        theirs = functional.normalize(published(scaled), dim=1)
    # The same layers on the same numbers: only the order of sums may differ.
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", LAID_OUT)
def test_the_layout_at_its_published_width_is_the_published_network(name, tmp_path):
    published = LAID_OUT[name](32).eval()
    converted = read_deepsim(traced(published, tmp_path / "there.pt"))
    assert converted.options == {**PUBLISHED, "width": 32}
    number = sum(parameter.numel() for parameter in published.parameters())
    assert number == {"unet": 7_808_512, "unet-attention": 9_462_022, "ms-aff": 965_792}[name]


def test_a_scripted_perceptron_is_converted(tmp_path):
    published = LaidOutDecision(64, 384)
    torch.jit.script(published).save(tmp_path / "there.pt")
    converted = read_deepsim(tmp_path / "there.pt", part="decision")
    decision = Decision(**converted.options)
    decision.load_state_dict(dict(converted.state))
    a, b = torch.randn(2, 5, 64)
    torch.testing.assert_close(decision(a, b), published(torch.cat([a, b], 1))[:, 0])
    convert_deepsim(tmp_path / "there.pt", tmp_path / "d.safetensors", part="decision")
    assert load_weights(tmp_path / "d.safetensors").card.parameters == 345_601


def test_features_and_perceptron_may_share_a_file(tmp_path):
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.feature = LaidOutUNet(4)
            self.decisionNet = LaidOutDecision(8, 6)

        def forward(self, x):
            f = self.feature(x).movedim(1, -1)
            return self.decisionNet(torch.cat([f, f], -1))

    path = traced(Both().eval(), tmp_path / "both.pt")
    assert read_deepsim(path).architecture == "unet"
    assert read_deepsim(path, part="decision").options == {"channels": 8, "hidden": 6}


# ---- files that do not fit -----------------------------------------------------------------------


def test_a_shortcut_of_another_size_is_told(tmp_path):
    other = LaidOutMSAFF(4)
    other.layer1[0].downsample[0] = nn.Conv2d(4, 8, 3, padding=1, bias=False)
    with pytest.raises(
        InputError, match=r"layer1\.0\.downsample\.0\.weight is 8 x 4 x 3 x 3, where"
    ):
        read_deepsim(traced(other.eval(), tmp_path / "there.pt"))


def test_tensors_that_lack_or_are_left_over_are_told(tmp_path):
    lacking = LaidOutUNet(4)
    lacking.upconv3 = nn.ConvTranspose2d(32, 16, 2, 2, bias=False)
    with pytest.raises(InputError, match=r"it lacks upconv3\.bias"):
        read_deepsim(traced(lacking.eval(), tmp_path / "lacking.pt"))
    more = LaidOutUNet(4)
    more.encoder1[0] = nn.Conv2d(1, 4, 3, padding=1)
    with pytest.raises(InputError, match=r"it has encoder1\.0\.bias, which has no place"):
        read_deepsim(traced(more.eval(), tmp_path / "more.pt"))


def test_another_network_is_told(tmp_path):
    path = traced(nn.Sequential(nn.Conv2d(1, 2, 3)), tmp_path / "there.pt")
    with pytest.raises(InputError, match="no features of DeepSim-Nets: none of its 2 tensors"):
        read_deepsim(path)
    with pytest.raises(InputError, match="no decision of DeepSim-Nets"):
        read_deepsim(path, part="decision")
    with pytest.raises(InputError, match="part is 'all'"):
        read_deepsim(path, part="all")


def test_nothing_is_written_when_a_file_does_not_fit(tmp_path):
    path = traced(nn.Conv2d(1, 2, 3), tmp_path / "there.pt")
    with pytest.raises(InputError):
        convert_deepsim(path, tmp_path / "here.safetensors")
    assert list(tmp_path.iterdir()) == [path]


# ---- archives ------------------------------------------------------------------------------------


def rewritten(source: Path, target: Path, **changes: bytes | None) -> Path:
    """A copy of an archive with some of its files replaced, or left out."""
    renamed = {name.replace("__", "/").replace("_dot_", "."): c for name, c in changes.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            inner = info.filename.partition("/")[2]
            content = renamed.get(inner, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return target


@pytest.fixture
def archive(tmp_path) -> Path:
    return traced(nn.Conv2d(1, 2, 3), tmp_path / "good.pt")


class Evil:
    """Its pickle calls a function that leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_and_not_run(archive, tmp_path, protocol):
    trace = tmp_path / "trace"
    evil = rewritten(
        archive, tmp_path / "evil.pt", data_dot_pkl=pickle.dumps(Evil(trace), protocol)
    )
    with pytest.raises(InputError, match="is not read: it"):
        read_torchscript(evil)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("notation", "sentence"),
    [
        (b"cos\nsystem\n(X\x04\x00\x00\x00true" + b"tR.", "it calls os.system"),
        (b"cbuiltins\nobject\n)\x81}b.", "object of builtins.object"),
        (b"c__torch__.M\nM\n(K\x01t\x81}b.", "which is not of the archive"),
        (b"\x80\x02}K\x01b.", "the state of something that is no module"),
        (b"X\x01\x00\x00\x00aQ.", "damaged"),
        (b"((ctorch\nEvilStorage\nttQ.", "damaged"),
        (b"}q\x00K", "damaged"),
        (b"K\x01", "damaged"),
        (b"tttt.", "damaged"),
        (b"h\x07.", "damaged"),
    ],
)
def test_other_notations_are_refused(archive, tmp_path, notation, sentence):
    changed = rewritten(archive, tmp_path / "changed.pt", data_dot_pkl=notation)
    with pytest.raises(InputError, match=sentence):
        read_torchscript(changed)


def test_an_object_that_holds_itself_ends(archive, tmp_path):
    name = b"X\x01\x00\x00\x00a"
    notation = b"c__torch__.M\nM\n)\x81q\x00}" + name + b"h\x00sb."
    endless = rewritten(archive, tmp_path / "endless.pt", data_dot_pkl=notation)
    with pytest.raises(InputError, match="more than 20000 attributes"):
        read_torchscript(endless)


def test_damaged_storages_are_told(archive, tmp_path):
    cut = rewritten(archive, tmp_path / "cut.pt", data__0=b"\0" * 10)
    with pytest.raises(InputError, match="storage 0 has 10 bytes"):
        read_torchscript(cut)
    gone = rewritten(archive, tmp_path / "gone.pt", data__0=None)
    with pytest.raises(InputError, match="damaged"):
        read_torchscript(gone)
    big = rewritten(archive, tmp_path / "big.pt", byteorder=b"big")
    with pytest.raises(InputError, match="big-endian"):
        read_torchscript(big)


def test_a_tensor_that_leaves_its_storage_is_told(archive, tmp_path):
    with zipfile.ZipFile(archive) as file:
        notation = file.read("good/data.pkl")
    # The kernel's shape 2 x 1 x 3 x 3 becomes 2 x 1 x 3 x 4.
    assert notation.count(b"K\x02K\x01K\x03K\x03t") == 1
    longer = notation.replace(b"K\x02K\x01K\x03K\x03t", b"K\x02K\x01K\x03K\x04t")
    changed = rewritten(archive, tmp_path / "changed.pt", data_dot_pkl=longer)
    with pytest.raises(InputError, match="leaves its storage"):
        read_torchscript(changed)


def test_other_files_are_told(tmp_path, archive):
    with pytest.raises(InputError, match="does not exist"):
        read_torchscript(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(InputError, match="no TorchScript file"):
        read_torchscript(tmp_path / "text.pt")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as file:
        file.writestr("a/b.txt", "weights")
    with pytest.raises(InputError, match=r"no data\.pkl"):
        read_torchscript(tmp_path / "zip.pt")
    torch.save(nn.Conv2d(1, 2, 3).state_dict(), tmp_path / "saved.pt")
    with pytest.raises(InputError, match=r"written by torch\.save"):
        read_torchscript(tmp_path / "saved.pt")
    frozen = torch.jit.freeze(torch.jit.trace(nn.Conv2d(1, 2, 3).eval(), torch.zeros(1, 1, 8, 8)))
    frozen.save(tmp_path / "frozen.pt")
    with pytest.raises(InputError, match="a frozen module"):
        read_torchscript(tmp_path / "frozen.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_come_back_exactly(tmp_path, dtype):
    """Also views of one storage, transposed ones and single numbers."""

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            base = torch.randn(4, 5).to(dtype)
            self.register_buffer("whole", base)
            self.register_buffer("turned", base.T)
            self.register_buffer("part", base[1:3, 2:])
            self.register_buffer("number", torch.tensor(7))
            self.register_buffer("empty", torch.zeros(0, 3))

        def forward(self, x):
            return x

    holder = Holder()
    torch.jit.script(holder).save(tmp_path / "holder.pt")
    read = read_torchscript(tmp_path / "holder.pt")
    assert set(read) == set(holder.state_dict())
    for name, tensor in holder.state_dict().items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
