"""The search, step by step: each format alone, the predicted front, what it predicts measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from powtwo.conversion.scheme import LayerBits, Scheme
from powtwo.dataset.images import evenly_spaced
from powtwo.energy.counts import PJ_IN_UJ
from powtwo.tools.search import assign, price
from powtwo.tools.search.candidates import LayerFormats, assigned, centered
from powtwo.tools.search.measure import Measurement, Measurer

NEAR = Fraction(19, 20)  # of the best assignment's energy


@dataclass(frozen=True)
class Alone:
    """A format of one layer, all others being as the scheme has them."""

    layer: int
    format: LayerBits
    measurement: Measurement | None
    refused: str | None = None  # why there is no such network


@dataclass(frozen=True)
class Found:
    """An assignment on the predicted front."""

    formats: dict[int, LayerBits]  # by index of the layer
    pj: Fraction  # predicted energy; the measured one where it was measured
    predicted_loss: float  # nats
    measurement: Measurement | None = None


@dataclass(frozen=True)
class Round:
    """What was measured and predicted around one assignment."""

    alone: list[list[Alone]]  # the formats of each layer
    front: list[Found]
    tried: list[Found]
    best: Found  # of this round and those before


@dataclass(frozen=True)
class Limits:
    """How far a search goes."""

    budget: price.Budget
    tries: int  # assignments that a round measures
    rounds: int


def search(
    scheme: Scheme,
    layers: Sequence[LayerFormats],
    measurer: Measurer,
    prices: price.Prices,
    limits: Limits,
) -> list[Round]:
    """Search around the scheme, then around the best assignment so far, until that stays.

    Raises:
        ValueError: where the scheme is refused, or no assignment is within the budget.
        UnpricedError: where the table lacks a price.
    """
    rounds: list[Round] = []
    while len(rounds) < limits.rounds:
        rows = alone(scheme, layers, measurer, prices)
        predicted = front(rows, prices)
        chosen = few(predicted, limits.budget, limits.tries)
        tried = measured(chosen, scheme, layers, measurer, prices)
        before = [rounds[-1].best] if rounds else []
        found = best([*before, *tried], limits.budget)
        rounds.append(Round(rows, predicted, tried, found))
        if before and found.formats == before[0].formats:
            break
        layers = centered(layers, found.formats)
    return rounds


def alone(
    scheme: Scheme, layers: Sequence[LayerFormats], measurer: Measurer, prices: price.Prices
) -> list[list[Alone]]:
    """Measure each format of each layer, the scheme's own first; what is refused is kept too.

    Raises:
        ValueError: where the scheme itself is refused.
        UnpricedError: where the table lacks a price, as soon as one is missing.
    """
    own = measurer.measure(assigned(scheme, layers, {}))
    prices.pj(own.shapes)
    total = sum(len(layer.formats) - 1 for layer in layers)
    rows, done = [], 0
    for layer in layers:
        row = [Alone(layer.index, layer.formats[0], own)]
        for each in layer.formats[1:]:
            done += 1
            row.append(_alone(assigned(scheme, layers, {layer.index: each}), layer, each, measurer))
            if (measurement := row[-1].measurement) is not None:
                prices.pj(measurement.shapes)
            print(f"{done}/{total} {_line(row[-1])}", flush=True)
        rows.append(row)
    return rows


def _alone(scheme: Scheme, layer: LayerFormats, each: LayerBits, measurer: Measurer) -> Alone:
    try:
        return Alone(layer.index, each, measurer.measure(scheme))
    except ValueError as error:
        return Alone(layer.index, each, None, str(error))


def front(rows: Sequence[Sequence[Alone]], prices: price.Prices) -> list[Found]:
    """Return the assignments on the predicted front, by rising energy.

    Raises:
        UnpricedError: where the table lacks a price.
    """
    usable = [[each for each in row if each.measurement] for row in rows]
    measured = [[_measured(each, row[0]) for each in row] for row in usable]
    own = usable[0][0].measurement
    assert own is not None
    # Layers of which one reads several, or several read one, hold an addition or an average.
    others = [shape for shape in own.shapes if not shape.has_weights]
    if others:
        options, unit = price.options_of_fixed_codes(measured, others, prices)
    else:
        options, unit = price.options(measured, prices)
    first = price.reads(measured[0][0].shape)
    return [
        Found(
            {row[pick].layer: row[pick].format for row, pick in zip(usable, picks, strict=True)},
            Fraction(energy, unit),
            own.loss + loss / price.LOSS_UNITS,
        )
        for energy, loss, picks in assign.pareto(options, first)
    ]


def _measured(each: Alone, own: Alone) -> price.Measured:
    assert each.measurement is not None
    assert own.measurement is not None
    (shape,) = (shape for shape in each.measurement.shapes if shape.index == each.layer)
    return price.Measured(shape, each.measurement.loss - own.measurement.loss)


def few(found: Sequence[Found], budget: price.Budget, count: int) -> list[Found]:
    """Return assignments within a budget to measure, by rising predicted loss.

    The first is the best; the others are evenly spaced over those that take nearly as much, for
    its neighbors on the front may differ in layers that matter little.

    Raises:
        ValueError: where there is none, saying how far it goes.
    """
    cheap = [each for each in found if each.pj <= budget.pj]
    if not cheap:
        least, asked = (float(pj / PJ_IN_UJ) for pj in (found[0].pj, budget.pj))
        raise ValueError(
            f"the budget is {asked:.4g} µJ; the cheapest assignment takes {least:.4g} µJ, a ratio "
            f"of {float(budget.float_pj / found[0].pj):.4g}: ask for that, or add --candidates "
            "that cost less"
        )
    near = [each for each in cheap if each.pj >= NEAR * cheap[-1].pj]
    listed = max(near, cheap[-count:], key=len)[::-1]
    return [listed[index] for index in evenly_spaced(len(listed), count)]


def measured(
    found: Sequence[Found],
    scheme: Scheme,
    layers: Sequence[LayerFormats],
    measurer: Measurer,
    prices: price.Prices,
) -> list[Found]:
    """Measure assignments; their energy is then that of the network itself."""
    done = []
    for number, each in enumerate(found, 1):
        measurement = measurer.measure(assigned(scheme, layers, each.formats))
        pj = prices.pj(measurement.shapes)
        done.append(Found(each.formats, pj, each.predicted_loss, measurement))
        print(f"assignment {number}/{len(found)}: {_figures(measurement)}", flush=True)
    return done


def best(tried: Sequence[Found], budget: price.Budget) -> Found:
    """Return the assignment of least measured loss within the budget, of equals the cheaper.

    Raises:
        ValueError: where none is within it, as where conversion changed what is priced.
    """
    cheap = [each for each in tried if each.pj <= budget.pj and each.measurement]
    if not cheap:
        raise ValueError("no measured assignment is within the budget; give more --tries")
    return min(cheap, key=lambda each: (each.measurement.loss, each.pj))  # type: ignore[union-attr]


def _line(each: Alone) -> str:
    said = each.format.model_dump(mode="json", exclude_none=True)
    if each.measurement is None:
        return f"layer {each.layer} {said}: {each.refused}"
    return f"layer {each.layer} {said}: {_figures(each.measurement)}"


def _figures(measurement: Measurement) -> str:
    return f"loss {measurement.loss:.5f}, accuracy {measurement.accuracy:.2%}"
