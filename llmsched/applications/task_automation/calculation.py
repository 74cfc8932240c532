"""Exact arithmetic and algebra with SymPy, and conversion of units.

Expressions are read with Python's own grammar and rebuilt from a list of allowed parts. SymPy's parser is not used:
it evaluates its input as Python code.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import sympy
from typing_extensions import TypedDict

from llmsched.tools import tool

_MAX_DIGITS = 2000
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "E": sympy.E, "I": sympy.I, "oo": sympy.oo}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: sympy.floor(a / b),
    ast.Mod: lambda a, b: sympy.Mod(a, b),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": sympy.Abs,
    "acos": sympy.acos,
    "asin": sympy.asin,
    "atan": sympy.atan,
    "cbrt": sympy.cbrt,
    "ceil": sympy.ceiling,
    "cos": sympy.cos,
    "exp": sympy.exp,
    "floor": sympy.floor,
    "gcd": sympy.gcd,
    "lcm": sympy.lcm,
    "ln": sympy.log,
    "log": sympy.log,
    "log10": lambda x: sympy.log(x, 10),
    "log2": lambda x: sympy.log(x, 2),
    "max": sympy.Max,
    "min": sympy.Min,
    "sin": sympy.sin,
    "sqrt": sympy.sqrt,
    "tan": sympy.tan,
}
# Factors to the first unit of each kind (NIST SP 811, appendix B, where not exact by definition).
_UNITS: dict[str, dict[str, float]] = {
    "length": {"m": 1, "km": 1e3, "cm": 1e-2, "mm": 1e-3, "in": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344},
    "mass": {"kg": 1, "g": 1e-3, "mg": 1e-6, "t": 1e3, "lb": 0.45359237, "oz": 0.028349523125},
    "time": {"s": 1, "ms": 1e-3, "min": 60, "h": 3600, "day": 86400, "week": 604800},
    "area": {"m2": 1, "km2": 1e6, "cm2": 1e-4, "ha": 1e4, "acre": 4046.8564224, "ft2": 0.09290304},
    "volume": {"l": 1, "ml": 1e-3, "m3": 1e3, "gal": 3.785411784, "cup": 0.2365882365, "floz": 0.0295735295625},
    "speed": {"m/s": 1, "km/h": 1 / 3.6, "mph": 0.44704, "kn": 1852 / 3600},
    "energy": {"J": 1, "kJ": 1e3, "Wh": 3600, "kWh": 3.6e6, "cal": 4.184, "kcal": 4184},
    "data": {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "bit": 0.125},
}
_TO_KELVIN: dict[str, tuple[float, float]] = {"K": (1, 0), "C": (1, 273.15), "F": (5 / 9, 459.67 * 5 / 9)}


class Value(TypedDict):
    """A number, exactly and as a decimal (null where it is none, such as 2*x)."""

    exact: str
    value: float | None


class Solutions(TypedDict):
    """All solutions of an equation; `numeric` holds those that are real numbers."""

    solutions: list[str]
    numeric: list[float]


class Conversion(TypedDict):
    """An amount in another unit."""

    value: float
    unit: str
    kind: str


@tool(name="math.evaluate", timeout=10)
def evaluate(expression: str, variables: dict[str, float] | None = None) -> Value:
    """Calculate the value of an arithmetic expression, such as 3 * (2 + sqrt(16)) or x^2 + 1 with a given x.

    Args:
        expression: With + - * / // % ^ or **, parentheses, pi, e and functions such as sqrt, sin, log, max.
        variables: Values for names in the expression.
    """
    result = sympy.simplify(_read(expression))
    values = {sympy.Symbol(name): sympy.nsimplify(value, rational=True) for name, value in (variables or {}).items()}
    result = sympy.simplify(result.subs(values))
    return {"exact": str(result), "value": _real(result)}


@tool(name="math.solve", timeout=20)
def solve(equation: str, variable: str = "x") -> Solutions:
    """Solve an equation for one unknown, such as 2*x + 3 = 11 or x^2 = 2.

    Args:
        equation: Two sides with = between them, or one side that shall be zero.
        variable: Name of the unknown.
    """
    left, _, right = equation.replace("==", "=").partition("=")
    difference = _read(left) - _read(right or "0")
    solutions = sympy.solve(difference, sympy.Symbol(variable))
    reals = [value for value in map(_real, solutions) if value is not None]
    return {"solutions": [str(solution) for solution in solutions], "numeric": sorted(reals)}


@tool(name="math.differentiate", timeout=10)
def differentiate(expression: str, variable: str = "x") -> str:
    """Give the derivative of an expression, such as 2*x for x^2.

    Args:
        expression: As in math.evaluate.
        variable: By which name to differentiate.
    """
    return str(sympy.simplify(sympy.diff(_read(expression), sympy.Symbol(variable))))


@tool(name="units.convert")
def convert(value: float, unit: str, to: str) -> Conversion:
    """Convert an amount from one unit to another of the same kind, such as 5 mi to km or 20 C to F.

    Args:
        value: The amount.
        unit: The unit it is in: m km cm mm in ft yd mi, kg g mg t lb oz, s ms min h day week, m2 km2 cm2 ha acre
            ft2, l ml m3 gal cup floz, m/s km/h mph kn, J kJ Wh kWh cal kcal, B kB MB GB KiB MiB GiB bit, C F K.
        to: The unit wanted.
    """
    if unit in _TO_KELVIN and to in _TO_KELVIN:
        (factor, offset), (to_factor, to_offset) = _TO_KELVIN[unit], _TO_KELVIN[to]
        converted = (value * factor + offset - to_offset) / to_factor
        return {"value": _rounded(converted), "unit": to, "kind": "temperature"}
    for kind, factors in _UNITS.items():
        if unit in factors and to in factors:
            return {"value": _rounded(value * factors[unit] / factors[to]), "unit": to, "kind": kind}
    known = {name for factors in _UNITS.values() for name in factors} | set(_TO_KELVIN)
    unknown = [name for name in (unit, to) if name not in known]
    if unknown:
        raise ValueError(f"unknown unit {', '.join(unknown)}; known are {' '.join(sorted(known))}")
    raise ValueError(f"{unit} and {to} do not measure the same kind of thing")


def _read(text: str) -> Any:
    """The expression as a SymPy object. Raises ValueError saying which part is not allowed."""
    try:
        return _build(ast.parse(text.strip().replace("^", "**"), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no arithmetic expression: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError("the expression is nested too deeply") from None


def _build(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | complex()):
            pass
        case ast.Constant(value=int() as number):
            return sympy.Integer(number)
        case ast.Constant(value=float() as number):
            return sympy.Rational(str(number))
        case ast.Name(id=name):
            return _CONSTANTS.get(name) or sympy.Symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_build(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _build(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_build(left), _build(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_build(left), _build(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            if name not in _FUNCTIONS:
                raise ValueError(f"unknown function {name}; known are {', '.join(sorted(_FUNCTIONS))}")
            return _FUNCTIONS[name](*map(_build, args))
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in an arithmetic expression")


def _power(base: Any, exponent: Any) -> Any:
    if base.is_number and exponent.is_number and base.is_zero is False:
        digits = abs(sympy.N(sympy.log(sympy.Abs(base), 10) * exponent))
        if not digits <= _MAX_DIGITS:
            raise ValueError(f"a power with more than {_MAX_DIGITS} digits is not calculated")
    return base**exponent


def _real(value: Any) -> float | None:
    if not (value.is_number and value.is_extended_real and value.is_finite):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _rounded(value: float) -> float:
    # Twelve digits: what is more is the rounding of the factors.
    return float(f"{value:.12g}")
