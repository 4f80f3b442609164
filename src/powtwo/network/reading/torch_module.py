"""From a PyTorch module to operations, by torch.export.

Operators are ATen's, parameters have their own names; classes and names of modules decide nothing.

Source: https://docs.pytorch.org/docs/stable/export.html
"""

from __future__ import annotations

import logging
import operator
import textwrap
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from powtwo.network.reading import randomized
from powtwo.network.reading.operations import (
    Made,
    Operation,
    Operations,
    Parameters,
    refuse_operator,
)
from powtwo.network.reading.torch_operators import OPERATORS, Call

BATCH = 2  # images to trace with; one is a size that PyTorch may take as such
ASSERTION = "_assert_tensor_metadata"  # before a cast; the cast is read
TRANSPOSES = ("t", "numpy_T")
OF_PARAMETERS = (
    "computes weights from parameters; make them plain first, by remove_parametrizations of "
    "torch.nn.utils.parametrize, remove_weight_norm or prune.remove"
)


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
        if not any(isinstance(self._values[each.name], str) for each in node.all_input_nodes):
            raise ValueError(f"{place} ({name}): {OF_PARAMETERS}")
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
