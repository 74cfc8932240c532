"""Functions on shapes and distances."""

from __future__ import annotations

import math

from llmsched.applications.taskmatrix.catalogue.define import listed

_EARTH = 6371.0088  #: mean radius in kilometres


@listed(radius=2, gives=12.566371)
def circle_area(radius: float) -> float:
    """Compute the area of a circle from its radius."""
    return round(math.pi * radius**2, 6)


@listed(radius=2, gives=12.566371)
def circumference(radius: float) -> float:
    """Compute the circumference of a circle from its radius."""
    return round(2 * math.pi * radius, 6)


@listed(width=3, height=4, gives=12)
def rectangle_area(width: float, height: float) -> float:
    """Compute the area of a rectangle."""
    return width * height


@listed(width=3, height=4, gives=14)
def rectangle_perimeter(width: float, height: float) -> float:
    """Compute the perimeter of a rectangle."""
    return 2 * (width + height)


@listed(a=3, b=4, c=5, gives=6)
def triangle_area(a: float, b: float, c: float) -> float:
    """Compute the area of a triangle from its three sides."""
    half = (a + b + c) / 2
    square = half * (half - a) * (half - b) * (half - c)
    if square < 0:
        raise ValueError("no triangle has these sides")
    return math.sqrt(square)


@listed(a=3, b=4, gives=5)
def hypotenuse(a: float, b: float) -> float:
    """Compute the hypotenuse of a right triangle (Pythagoras)."""
    return math.hypot(a, b)


@listed(radius=3, gives=113.097336)
def sphere_volume(radius: float) -> float:
    """Compute the volume of a sphere, or ball."""
    return round(4 / 3 * math.pi * radius**3, 6)


@listed(width=2, height=3, depth=4, gives=24)
def box_volume(width: float, height: float, depth: float) -> float:
    """Compute the volume of a box."""
    return width * height * depth


@listed(radius=1, height=2, gives=6.283185)
def cylinder_volume(radius: float, height: float) -> float:
    """Compute the volume of a cylinder."""
    return round(math.pi * radius**2 * height, 6)


@listed(degrees=180, gives=3.141593)
def degrees_to_radians(degrees: float) -> float:
    """Convert an angle from degrees to radians."""
    return round(math.radians(degrees), 6)


@listed(latitude=52.52, longitude=13.405, to_latitude=48.8566, to_longitude=2.3522, gives=877.5)
def distance_on_earth(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Compute the distance of two places on Earth in kilometres."""
    a, b = math.radians(latitude), math.radians(to_latitude)
    turn = math.radians(to_longitude - longitude)
    square = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(turn / 2) ** 2
    return round(2 * _EARTH * math.asin(math.sqrt(square)), 1)
