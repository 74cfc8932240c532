"""Functions on samples of numbers."""

from __future__ import annotations

import statistics as standard

from llmsched.applications.taskmatrix.catalogue.define import listed


@listed(numbers=[1, 2, 6], gives=9)
def total(numbers: list[float]) -> float:
    """Add up a list of numbers: their total or sum."""
    return sum(numbers)


@listed(numbers=[1, 2, 6], gives=3)
def mean(numbers: list[float]) -> float:
    """Compute the mean, or average, of numbers."""
    return standard.fmean(numbers)


@listed(numbers=[7, 1, 3], gives=3)
def median(numbers: list[float]) -> float:
    """Compute the median of numbers."""
    return standard.median(numbers)


@listed(numbers=[1, 2, 2, 3], gives=2)
def mode(numbers: list[float]) -> float:
    """Find the most frequent of numbers: their mode."""
    return standard.mode(numbers)


@listed(numbers=[2, 4, 4, 4, 5, 5, 7, 9], gives=2)
def standard_deviation(numbers: list[float]) -> float:
    """Compute the standard deviation of numbers."""
    return standard.pstdev(numbers)


@listed(numbers=[1, 3], gives=1)
def variance(numbers: list[float]) -> float:
    """Compute the variance of numbers."""
    return standard.pvariance(numbers)


@listed(numbers=[4, 9, 2], gives=9)
def largest(numbers: list[float]) -> float:
    """Find the largest of numbers: their maximum."""
    return max(numbers)


@listed(numbers=[4, 9, 2], gives=2)
def smallest(numbers: list[float]) -> float:
    """Find the smallest of numbers: their minimum."""
    return min(numbers)


@listed(numbers=[4, 9, 2], gives=7)
def spread(numbers: list[float]) -> float:
    """Compute the range of numbers: the largest less the smallest."""
    return max(numbers) - min(numbers)


@listed(x=[1, 2, 3], y=[2, 4, 6], gives=1)
def correlation(x: list[float], y: list[float]) -> float:
    """Compute the correlation of two lists of numbers."""
    return round(standard.correlation(x, y), 10)


@listed(numbers=[1, 2, 3, 4], gives=[1, 3, 6, 10])
def running_total(numbers: list[float]) -> list[float]:
    """List the running totals of numbers, their cumulative sums."""
    totals, so_far = [], 0.0
    for number in numbers:
        so_far += number
        totals.append(so_far)
    return totals
