"""From a PyTorch function of the user's to operations, by torch.export.

Operators are ATen's, parameters have their own names; classes and names of modules decide nothing.

Source: https://docs.pytorch.org/docs/stable/export.html
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import operator
import sys
import textwrap
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from powtwo.network import python_files
from powtwo.network.reading import randomized
from powtwo.network.reading.operations import (
    ClassesError,
    Made,
    Operation,
    Operations,
    Parameters,
    refuse_operator,
)
from powtwo.network.reading.torch_operators import OPERATORS, Call

MODULE = "network_of_the_user"  # in sys.modules, beside which the file's own name may be taken
ANY_CLASSES = 2  # where nobody knows yet how many the images have
BATCH = 2  # images to trace with; one is a size that PyTorch may take as such
ASSERTION = "_assert_tensor_metadata"  # before a cast; the cast is read
TRANSPOSES = ("t", "numpy_T")


def load(path: Path, function: str, image: tuple[int, ...], classes: int | None) -> nn.Module:
    """Return the module that a function in a file returns, ready for inference.

    Raises:
        ClassesError: where it fails for a number of classes that nobody knows yet.
        ValueError: where there is no such function, it fails, or it returns something else.
    """
    build = getattr(_imported(path), function, None)
    torch.set_default_dtype(torch.float32)  # which the file may have changed
    if not callable(build):
        raise ValueError(f"has no function {function}; correct model.function")
    known = {"image": image, "classes": classes or ANY_CLASSES}
    arguments = _arguments(build, function, known)
    try:
        module = _call(build, arguments, path, f"{function}()")
    except ValueError as error:
        if classes is None and "classes" in arguments:  # weights may be for as many as there are
            raise ClassesError(
                f"fails with classes = {ANY_CLASSES}, as nobody has said how many; "
                f"say --classes N: {error}"
            ) from error
        raise
    if not isinstance(module, nn.Module):
        raise ValueError(f"{function}() = {type(module).__name__}: must be a torch.nn.Module")
    for name, tensor in module.state_dict().items():
        is_float = isinstance(tensor, Tensor) and tensor.is_floating_point()
        if is_float and tensor.dtype != torch.float32:
            raise ValueError(f"{name}: is {tensor.dtype}; return a module in float32 (.float())")
    return module.eval().cpu()


def _imported(path: Path) -> Any:
    """Import a file, which finds what lies beside it."""
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # as dataclasses expect it
    sys.path[:0] = map(str, python_files.search_path(path))
    _call(spec.loader.exec_module, {"module": module}, path, "import")
    return module


def _arguments(build: Callable[..., Any], name: str, known: dict[str, Any]) -> dict[str, Any]:
    """Return those of the known arguments that a function takes."""
    signature = inspect.signature(build).parameters
    for each in signature.values():
        needed = each.default is each.empty and each.kind not in (
            each.VAR_POSITIONAL,
            each.VAR_KEYWORD,
        )
        if needed and each.name not in known:
            raise ValueError(
                f"{name}() needs {each.name}; give it a default: only image and classes are given"
            )
    if any(each.kind is each.VAR_KEYWORD for each in signature.values()):
        return known
    return {key: value for key, value in known.items() if key in signature}


def _call(function: Callable[..., Any], arguments: dict[str, Any], path: Path, what: str) -> Any:
    """Call what the user wrote; what it raises becomes one line with its place.

    Raises:
        ValueError: where it raises anything.
    """
    try:
        with torch.enable_grad():  # restores what the user's code sets
            return function(**arguments)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        place = f" at line {line}" if line else ""
        raise ValueError(f"{what}: {type(error).__name__}{place}: {error}") from error


def made(module: nn.Module, image: tuple[int, ...]) -> Made:
    """Return a module for images (C, H, W) as PyTorch has it."""
    return Made(
        partial(operations, module, image),
        partial(_run, module),
        partial(randomized.module, module),
    )


def _run(module: nn.Module, x: Tensor) -> Tensor:
    output = module(x)
    if not isinstance(output, Tensor):
        raise ValueError(f"returns a {type(output).__name__}; return the logits alone")
    return output


def operations(module: nn.Module, image: tuple[int, ...]) -> Operations:
    """Trace a module with images (C, H, W).

    Raises:
        ValueError: where it cannot be traced, or has an operator that is not read.
    """
    logging.disable(logging.ERROR)  # PyTorch's own account of what is said here in one line
    try:
        program = torch.export.export(module, (torch.zeros(BATCH, *image),))
    except Exception as error:
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 100, placeholder=" ...")
        raise ValueError(
            f"cannot be traced with images {image} ({reason}); forward must take images of "
            "data.size and data.channels alone, its layers must fit them, and none may branch on "
            "values"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return _Walk(program).operations()


class _Walk:
    """One pass over the nodes of an exported program."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        signature = program.graph_signature
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._state = {node: (name, program.state_dict[name]) for node, name in named.items()
                       if name in program.state_dict}  # fmt: skip
        for node, name in named.items():
            if node not in self._state:  # a buffer that is not saved
                self._state[node] = (name, program.constants[name])
        lifted = signature.inputs_to_lifted_tensor_constants.items()
        self._lifted = {node: program.constants[name] for node, name in lifted}
        self._signature, self._nodes = signature, program.graph.nodes
        self._values: dict[str, Any] = {}  # what stands for each node's output now
        self._parameters = Parameters()
        self._steps: list[Operation] = []

    def operations(self) -> Operations:
        """Return the operations of all nodes."""
        inputs, outputs = self._signature.user_inputs, self._signature.user_outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"has {len(inputs)} inputs and {len(outputs)} outputs; it must take images and "
                "return logits"
            )
        for node in self._nodes:
            if node.op == "placeholder":
                known = self._state.get(node.name, (None, self._lifted.get(node.name)))
                self._values[node.name] = known[1]
                if node.name in inputs:
                    self._values[node.name] = node.name
            elif node.op == "call_function":
                self._call(node)
        last = self._values.get(str(outputs[0]))
        if not isinstance(last, str):
            raise ValueError("its output does not come from the images; return logits")
        return Operations(str(inputs[0]), last, tuple(self._steps))

    def _call(self, node: fx.Node) -> None:
        target: Any = node.target
        arguments: dict[str, Any]
        if target is operator.getitem:
            name, arguments = "getitem", {"self": node.args[0]}
        else:
            name, arguments = _name(target), _by_schema(node)
        place = _place(node)
        if (
            name == ASSERTION
            or self._computed(node)
            or (name in TRANSPOSES and self._transposed(node))
        ):
            return
        if name.rstrip("_") not in OPERATORS:
            refuse_operator(place, name)
        held = [self._state[each.name][0] for each in node.all_input_nodes
                if each.name in self._state]  # fmt: skip
        self._parameters.take(held, place)
        values = {key: self._value(value) for key, value in arguments.items()}
        shape = tuple(getattr(node.meta.get("val"), "shape", ()))
        call = Call(place, name, node.name, shape, BATCH, values)
        made = OPERATORS[name.rstrip("_")](call)
        self._steps += made if isinstance(made, list) else [made]
        if name.endswith("_"):  # in place: who reads the value later reads the new one
            old = values.get("self", values.get("input"))
            self._values |= {
                key: node.name for key, value in self._values.items() if _is(value, old)
            }
        self._values[node.name] = node.name

    def _computed(self, node: fx.Node) -> bool:
        """Compute a node that reads constants of the code alone, and tell whether it does."""
        read = [each.name for each in node.all_input_nodes]
        if not all(isinstance(self._values[name], Tensor) for name in read) or any(
            name in self._state for name in read
        ):
            return False
        target: Any = node.target
        self._values[node.name] = target(
            *self._value(node.args),
            **{key: self._value(value) for key, value in node.kwargs.items()},
        )
        return isinstance(self._values[node.name], Tensor)

    def _transposed(self, node: fx.Node) -> bool:
        """Transpose a parameter, and tell whether it is one."""
        source = node.all_input_nodes[0].name
        value = self._values[source]
        if not isinstance(value, Tensor):
            return False
        self._values[node.name], self._state[node.name] = value.t(), self._state[source]
        return True

    def _value(self, argument: Any) -> Any:
        """Return an argument with the names of values, and tensors of parameters, for nodes."""
        if isinstance(argument, fx.Node):
            return self._values[argument.name]
        if isinstance(argument, list | tuple):
            return [self._value(each) for each in argument]
        return argument


def _is(value: Any, other: Any) -> bool:
    return isinstance(value, str) and value == other


def _name(target: Any) -> str:
    schema = getattr(target, "_schema", None)
    return schema.name.rpartition("::")[2] if schema else getattr(target, "__name__", str(target))


def _by_schema(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a node by their names, defaults among them."""
    target: Any = node.target
    if not hasattr(target, "_schema"):
        return {}
    schema = target._schema.arguments
    values = {each.name: each.default_value for each in schema if each.has_default_value()}
    return values | dict(zip([each.name for each in schema], node.args, strict=False)) | node.kwargs


def _place(node: fx.Node) -> str:
    """Name a node by the module that it stands in, or by itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path}" if path else node.name
