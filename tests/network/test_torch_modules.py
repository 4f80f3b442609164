"""PyTorch modules of others: read to layers that give the same outputs, or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import CLASSES, IMAGE, RandomModule
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from powtwo.network.architecture import of_model
from powtwo.network.params import Model
from powtwo.network.reading import torch_module
from powtwo.network.reading.read import ReadArchitecture, layered

PATH = Path("nets.py")


def read(module: nn.Module, classes: int = CLASSES) -> ReadArchitecture:
    module = module.eval()
    return layered(torch_module.made(module, IMAGE), PATH, IMAGE, classes)


def check_equal(module: nn.Module) -> ReadArchitecture:
    architecture = read(module)
    x = torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(architecture.build().eval()(x), module(x), rtol=1e-4, atol=1e-4)
    return architecture


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 8))
def test_random_networks_give_the_same_outputs(seed: int, steps: int) -> None:
    check_equal(RandomModule(seed, steps))


class Lambda(nn.Module):
    """A convolution, a function, and a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function
        with torch.no_grad():
            features = function(self.conv(torch.zeros(2, *IMAGE))).flatten(1).shape[1]
        self.linear = nn.Linear(features, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.function(self.conv(x)).flatten(1))


def kinds(architecture: ReadArchitecture) -> str:
    return " ".join(layer.kind for layer in architecture.specs.layers)


def in_place(x: Tensor) -> Tensor:
    y = x
    F.relu_(y)
    return x + y


READ = {
    "in place": (in_place, "conv2d relu add flatten linear"),
    "same": (lambda x: F.conv2d(x, torch.ones(2, 4, 3, 5), padding="same"),
             "conv2d conv2d flatten linear"),
    "clamp": (lambda x: x.clamp(0, 6), "conv2d relu6 flatten linear"),
    "global maximum": (lambda x: F.adaptive_max_pool2d(x, 1), "conv2d maxpool2d flatten linear"),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, (3, None)),
                 "conv2d avgpool2d flatten linear"),
    "an average of one pixel": (lambda x: F.avg_pool2d(x, 1), "conv2d flatten linear"),
    "mean": (lambda x: x.mean((-1, -2)), "conv2d avgpool2d flatten linear"),
    "squeeze": (lambda x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1),
                "conv2d avgpool2d flatten linear"),
    "there and back": (lambda x: x.flatten(2).unflatten(2, (9, 7)), "conv2d flatten linear"),
    "a last window within the padding": (
        lambda x: F.max_pool2d(x, 2, 2, 1, ceil_mode=True),
        "conv2d maxpool2d flatten linear"
    ),
    "zeros before a maximum": (lambda x: F.max_pool2d(F.pad(x.relu(), (1, 0, 1, 0)), 2),
                               "conv2d relu maxpool2d flatten linear"),
    "zeros before an average": (lambda x: F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), 2),
                                "conv2d avgpool2d flatten linear"),
    "dropout in place": (nn.Dropout(0.5, inplace=True), "conv2d dropout flatten linear"),
    "casts": (lambda x: x.float().to(torch.float32), "conv2d flatten linear"),
    "dropout": (lambda x: F.dropout(x, 0.5, training=False), "conv2d dropout flatten linear"),
    "matrix product": (lambda x: x.flatten(1) @ torch.ones(252, 5) + torch.arange(5.0),
                       "conv2d flatten linear linear"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_operators(name: str) -> None:
    function, layers = READ[name]
    assert kinds(check_equal(Lambda(function))) == layers


class Aliased(nn.Module):
    """A value that changes through another name for it, before a last layer of zeros."""

    def __init__(self, first: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.first, self.linear = nn.Conv2d(3, 4, 3), first, nn.Linear(252, CLASSES)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.first(y).relu_()
        return self.linear(y.flatten(1))


def test_zeros_hide_nothing_that_is_misread() -> None:
    architecture = read(Aliased(lambda y: y))
    assert kinds(architecture) == "conv2d relu flatten linear"
    assert not architecture.build().state_dict()["3.weight"].any(), "its own weights"
    with pytest.raises(ValueError, match="was misread: outputs differ by 0"):
        read(Aliased(lambda y: y.view(y.shape)))


class Limited(nn.Module):
    """Weights that are no layer's, and state that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(252, CLASSES)
        self.register_buffer("low", torch.zeros(1))
        self.register_buffer("seen", torch.ones(1).expand(8))

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.clamp_min(self.conv(x), 0).flatten(1)) + self.low


def test_random_weights_are_drawn_where_they_can_be() -> None:
    module = Limited()
    kept = {name: tensor.clone() for name, tensor in module.named_buffers()}
    architecture = check_equal(module)
    assert kinds(architecture) == "conv2d relu flatten linear"
    assert torch.equal(architecture.build().state_dict()["0.weight"], module.conv.weight)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in module.named_buffers())


def test_training_goes_on_as_the_module_has_it() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False, momentum=0.25), nn.ReLU(),
        nn.Flatten(), nn.Linear(252, CLASSES),
    )  # fmt: skip
    module[4].weight.requires_grad_(False)
    architecture = read(module)
    assert architecture.specs.layers[1].momentum == 0.25
    assert architecture.notes[0].startswith("nets.py: 3 weights and biases keep their values in")
    network = architecture.build().train()
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"0.weight", "4.bias"}
    x = torch.randn(6, *IMAGE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(x), module.train()(x))
    torch.testing.assert_close(network.state_dict()["1.running_var"], module[1].running_var)


def branches(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def pads_twice(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, padding=1, count_include_pad=False)


def grouped_twice(x: Tensor) -> Tensor:
    return torch.cat([F.conv2d(x, torch.ones(4, 2, 1, 1), groups=2) for _ in range(2)], 1)


SAME_INPUT = "only convolutions can be concatenated that read the same layer"
PLAIN = "computes weights from parameters; make them plain first, by remove_parametrizations of"
REFUSED = {
    "detach": (lambda x: x.detach(), "detach (detach): is not read; leave it out, and keep what"),
    "rounded up": (lambda x: F.max_pool2d(F.pad(x.relu(), (0, 0, 0, 2)), 2, ceil_mode=True),
                   "max_pool2d (max_pool2d): rounds up the size of what pad padded; give the pad"),
    "a cast": (lambda x: x.double().float(), "to (to): casts to torch.float64; stay in float32"),
    "no momentum": (nn.BatchNorm2d(4, momentum=None), "has a momentum of 0 or None; give it one"),
    "activation": (lambda x: x.sigmoid(), "sigmoid (sigmoid): is not read; use ReLU or ReLU6"),
    "scale": (lambda x: x * 2, "mul (mul): is not read; data.normalize has mean and deviation;"),
    "permute": (lambda x: x.permute(0, 2, 3, 1), "permute (permute): is not read; export the n"),
    "dilation": (lambda x: F.max_pool2d(x, 2, dilation=2), "max_pool2d (max_pool2d): has dilat"),
    "cut": (lambda x: x.clamp(-1, 1), "clamp (clamp): cuts at -1 and 1; cut at 0 (ReLU), or 0"),
    "uneven": (lambda x: F.adaptive_avg_pool2d(x, 2), "makes (2, 2) of (9, 7); choose data.size"),
    "border": (lambda x: F.avg_pool2d(x, 3, padding=1, count_include_pad=False),
               "avg_pool2d (avg_pool2d): averages over fewer pixels at the borders; count padded"),
    "ceil": (lambda x: F.avg_pool2d(x, 2, ceil_mode=True), "averages over fewer pixels at the"),
    "twice": (pads_twice, "avg_pool2d (avg_pool2d): pads again what pad padded; give the padding"),
    "below zero": (lambda x: F.max_pool2d(F.pad(x, (1, 0, 1, 0)), 2), "reads the zeros of pad"),
    "pad": (lambda x: F.pad(x, (1, 1)), "pad (pad): pads for what is no convolution or pooling"),
    "ones": (lambda x: F.pad(x, (1, 1), value=1.0), "pads with other than zeros around images"),
    "grouped concat": (grouped_twice, f"cat (cat): concatenates; {SAME_INPUT}"),
    "concat": (lambda x: torch.cat([x, x], 1), f"cat (cat): concatenates; {SAME_INPUT}"),
    "constant": (lambda x: x.relu() + 1, "add (add): reads 1, where values of images must be"),
    "late constant": (lambda x: x.relu() + torch.ones(4, 1, 1), "add (add): adds a constant; "),
    "wide constant": (lambda x: x + torch.ones(7), "adds a constant of shape (7,) to 4 channe"),
    "alpha": (lambda x: torch.add(x, x, alpha=2), "add (add): has alpha = 2; add without a fac"),
    "rows": (lambda x: x.mean(3), "mean (mean): averages over axes [3]; average over height"),
    "branch": (branches, "cannot be traced with images (3, 11, 9)"),
    "softmax within": (lambda x: x.flatten(1).softmax(1), "softmax (softmax): stands within th"),
    "weight norm": (parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), f"_norm): {PLAIN}"),
    "spectral norm": (parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)), PLAIN),
    "pruned": (prune.l1_unstructured(nn.Conv2d(4, 4, 3), "weight", 0.5), PLAIN),
    "batch": (lambda x: x.reshape(1, -1), "reshape (reshape): gives (1, 504); keep images apart"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The tensor attribute")  # of the pruned, by PyTorch
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_in_one_line(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read(Lambda(function))
    assert "\n" not in str(error.value)
    assert ";" in str(error.value), "a remedy"


def test_shared_weights_are_refused() -> None:
    again = nn.Conv2d(3, 3, 3, padding=1)
    module = nn.Sequential(again, again, nn.Flatten(), nn.Linear(297, 4))
    with pytest.raises(ValueError, match=r"has the weights 1.weight of 0, and layers cannot share"):
        read(module)


def test_a_module_called_twice_shares_its_weights() -> None:
    again = nn.Conv2d(4, 4, 1)
    module = Lambda(lambda x: again(again(x).relu()))
    module.again = again
    with pytest.raises(ValueError, match=r"has the weights again.weight of again, and layers can"):
        read(module)


@pytest.mark.parametrize("kernels", [(1, 3), (3, 1), (3, 3)])
def test_convolutions_side_by_side_in_any_order(kernels: tuple[int, int]) -> None:
    class Fire(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Conv2d(4, 3, k, padding=k // 2) for k in kernels)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([part(x).relu() for part in self.parts], 1)

    assert kinds(check_equal(Lambda(Fire()))) == "conv2d conv2d relu flatten linear"


LOGITS = {
    "a maximum": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
                  "its logits come from a max pooling; end with a linear layer or an average"),
    "epsilon": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=2), nn.Flatten(),
                              nn.Linear(252, 4)), "1 (batch_norm): has epsilon = 2.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGITS)
def test_what_a_later_stage_would_refuse_is_refused_here(name: str) -> None:
    module, message = LOGITS[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        read(module)


def test_what_cannot_be_folded_is_refused_by_its_name() -> None:
    module = nn.Sequential(nn.MaxPool2d((11, 9)), nn.Flatten(), nn.ReLU(), nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"2 \(relu\): is a relu of features that no layer"):
        read(module)


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="gives 4 outputs, and the images have 7 classes; give"):
        read(Lambda(lambda x: x), classes=7)


NETS = """
import torch
from blocks import block

def build(classes, image):
    assert image == (3, 11, 9)
    return torch.nn.Sequential(block(), torch.nn.Flatten(), torch.nn.Linear(4 * 99, classes))

def plain():
    return build(4, (3, 11, 9))

def needs(width):
    return width

def fails():
    raise KeyError("width")

def text():
    return "x"

def double():
    return plain().double()

def two_outputs():
    module = plain()
    module.forward = lambda x: (x, x)
    return module

def exits():
    raise SystemExit(0)

def gives(outputs):
    module = plain()
    module.forward = lambda x: outputs(module[2](module[1](module[0](x))))
    return module

def keywords(**known):
    assert known == {"image": (3, 11, 9), "classes": 4}
    return plain()

def a_dict():
    return gives(lambda y: {"y": y})

def none():
    return gives(lambda y: None)

def itself_times_itself():
    return gives(lambda y: y @ y.t())

def no_gradients():
    torch.set_grad_enabled(False)
    return plain()
"""
BLOCKS = "import torch\ndef block():\n    return torch.nn.Conv2d(3, 4, 3, padding=1)\n"


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/nets.py").write_text(NETS, encoding="utf-8")
    (tmp_path / "mine/blocks.py").write_text(BLOCKS, encoding="utf-8")
    (tmp_path / "broken.py").write_text("def build(:\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nets")
def test_function_in_a_file_gets_what_it_takes() -> None:
    for function in ("build", "plain", "keywords"):
        torch.manual_seed(0)
        model = Model(python="mine/nets.py", function=function)
        architecture = of_model(model, IMAGE, CLASSES)
        assert isinstance(architecture, ReadArchitecture)
        torch.manual_seed(0)
        conv = nn.Conv2d(3, 4, 3)  # the weights are those of the module, which the seed drew
        assert torch.equal(architecture.build().state_dict()["0.weight"], conv.weight)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("file", "function", "message"),
    [
        ("mine/nets.py", "absent", "mine/nets.py: has no function absent; correct model.function"),
        ("mine/nets.py", "needs", "mine/nets.py: needs() needs width; give it a default"),
        ("mine/nets.py", "fails", "mine/nets.py: fails(): KeyError at line 16: 'width'"),
        ("mine/nets.py", "text", r"mine/nets.py: text() = str: must be a torch.nn.Module"),
        ("mine/nets.py", "double", "0.weight: is torch.float64; return a module in float32"),
        ("mine/nets.py", "two_outputs", "mine/nets.py: has 1 inputs and 2 outputs; it must take"),
        ("mine/nets.py", "exits", "mine/nets.py: exits(): SystemExit at line"),
        ("mine/nets.py", "a_dict", "mine/nets.py: returns a dict; return the logits alone"),
        ("mine/nets.py", "none", "mine/nets.py: its output does not come from the images; return"),
        ("mine/nets.py", "itself_times_itself", "mine/nets.py: t (t): is not read; replace it"),
        ("broken.py", "build", "broken.py: no Python at line 1 (invalid syntax); correct it"),
        (
            "absent.py",
            "build",
            "model.python = absent.py: no such file; correct it: paths be",
        ),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(file: str, function: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        of_model(Model(python=file, function=function), IMAGE, CLASSES)


@pytest.mark.usefixtures("nets")
def test_training_goes_on_with_gradients_whatever_the_file_sets() -> None:
    of_model(Model(python="mine/nets.py", function="no_gradients"), IMAGE, CLASSES)
    assert torch.is_grad_enabled()
