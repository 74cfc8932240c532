"""Functions on numbers."""

from __future__ import annotations

import math

from llmsched.applications.taskmatrix.catalogue.define import listed

_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
    (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip
_NAMES = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
"""
_SMALL = _NAMES.split()
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_MOST = 10**12


@listed(a=2, b=3, gives=5)
def add(a: float, b: float) -> float:
    """Add two numbers: their sum."""
    return a + b


@listed(a=7, b=3, gives=4)
def subtract(a: float, b: float) -> float:
    """Subtract a number from another: their difference."""
    return a - b


@listed(a=6, b=7, gives=42)
def multiply(a: float, b: float) -> float:
    """Multiply two numbers: their product."""
    return a * b


@listed(a=9, b=4, gives=2.25)
def divide(a: float, b: float) -> float:
    """Divide a number by another: their quotient."""
    return a / b


@listed(a=17, b=5, gives=2)
def remainder(a: int, b: int) -> int:
    """Compute the remainder of a division (modulo)."""
    return a % b


@listed(base=2, exponent=10, gives=1024)
def power(base: float, exponent: float) -> float:
    """Raise a number to a power."""
    result = math.pow(base, exponent)
    return int(result) if result.is_integer() else result


@listed(number=144, gives=12)
def square_root(number: float) -> float:
    """Compute the square root of a number."""
    return math.sqrt(number)


@listed(number=5, gives=120)
def factorial(number: int) -> int:
    """Compute the factorial of a whole number."""
    if not 0 <= number <= 100:
        raise ValueError("the number must be from 0 to 100")
    return math.factorial(number)


@listed(number=97, gives=True)
def is_prime(number: int) -> bool:
    """Tell whether a number is prime."""
    _check(number)
    return number > 1 and prime_factors(number) == [number]


@listed(number=60, gives=[2, 2, 3, 5])
def prime_factors(number: int) -> list[int]:
    """List the prime factors of a number."""
    _check(number)
    factors, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors + [number] * (number > 1)


@listed(number=12, gives=[1, 2, 3, 4, 6, 12])
def divisors(number: int) -> list[int]:
    """List all divisors of a number."""
    _check(number)
    low = [each for each in range(1, math.isqrt(number) + 1) if number % each == 0]
    return sorted({*low, *(number // each for each in low)})


@listed(a=24, b=36, gives=12)
def greatest_common_divisor(a: int, b: int) -> int:
    """Compute the greatest common divisor of two numbers."""
    return math.gcd(a, b)


@listed(a=4, b=6, gives=12)
def least_common_multiple(a: int, b: int) -> int:
    """Compute the least common multiple of two numbers."""
    return math.lcm(a, b)


@listed(count=7, gives=[0, 1, 1, 2, 3, 5, 8])
def fibonacci(count: int) -> list[int]:
    """List the first numbers of the Fibonacci sequence."""
    if not 0 <= count <= 80:
        raise ValueError("count must be from 0 to 80")
    numbers = [0, 1]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:count]


@listed(number=3.14159, digits=2, gives=3.14)
def round_to(number: float, digits: int = 0) -> float:
    """Round a number to some digits after the point."""
    return round(number, digits)


@listed(part=30, whole=120, gives=25)
def percentage(part: float, whole: float) -> float:
    """Tell how many percent a part is of a whole."""
    return 100 * part / whole


@listed(percent=15, of=80, gives=12)
def percent_of(percent: float, of: float) -> float:
    """Compute some percent of a number."""
    return of * percent / 100


@listed(before=80, after=100, gives=25)
def percent_change(before: float, after: float) -> float:
    """Compute the change between two numbers in percent."""
    return 100 * (after - before) / before


@listed(number=1994, gives="MCMXCIV")
def to_roman(number: int) -> str:
    """Write a number in Roman numerals."""
    if not 0 < number < 4000:
        raise ValueError("Roman numerals go from 1 to 3999")
    written = ""
    for value, letters in _ROMAN:
        written += letters * (number // value)
        number %= value
    return written


@listed(numeral="MCMXCIV", gives=1994)
def from_roman(numeral: str) -> int:
    """Read a Roman numeral as a number."""
    rest, number = numeral.upper(), 0
    for value, letters in _ROMAN:
        while rest.startswith(letters):
            rest, number = rest[len(letters) :], number + value
    if rest or not number or to_roman(number) != numeral.upper():
        raise ValueError(f"{numeral!r} is no Roman numeral")
    return number


@listed(number=342, gives="three hundred forty-two")
def in_words(number: int) -> str:
    """Spell a number below a million in English words."""
    if not 0 <= number < 1_000_000:
        raise ValueError("the number must be from 0 to 999999")
    if number < 20:
        return _SMALL[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_SMALL[number % 10]}" if number % 10 else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    return f"{in_words(number // size)} {name}" + (f" {in_words(number % size)}" if number % size else "")


@listed(number=10, gives="1010")
def to_binary(number: int) -> str:
    """Write a number in binary digits, base two."""
    return f"{number:b}"


@listed(digits="1010", gives=10)
def from_binary(digits: str) -> int:
    """Read binary digits as a decimal number."""
    return int(digits, 2)


@listed(number=255, gives="ff")
def to_hexadecimal(number: int) -> str:
    """Write a number in hexadecimal digits, base sixteen."""
    return f"{number:x}"


@listed(number=9875, gives=29)
def digit_sum(number: int) -> int:
    """Add up the digits of a number."""
    return sum(map(int, str(abs(number))))


@listed(number=-7.5, gives=7.5)
def absolute(number: float) -> float:
    """Give the absolute value of a number, without its sign."""
    return abs(number)


def _check(number: int) -> None:
    if not 0 < number <= _MOST:
        raise ValueError("the number must be from 1 to a million millions")
