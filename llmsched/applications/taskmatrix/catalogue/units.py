"""Conversions of units. Factors are those of NIST SP 811, appendix B."""

from __future__ import annotations

from llmsched.applications.taskmatrix.catalogue.define import listed


@listed(celsius=100, gives=212)
def celsius_to_fahrenheit(celsius: float) -> float:
    """Convert degrees Celsius to Fahrenheit."""
    return round(celsius * 9 / 5 + 32, 6)


@listed(fahrenheit=212, gives=100)
def fahrenheit_to_celsius(fahrenheit: float) -> float:
    """Convert degrees Fahrenheit to Celsius."""
    return round((fahrenheit - 32) * 5 / 9, 6)


@listed(celsius=0, gives=273.15)
def celsius_to_kelvin(celsius: float) -> float:
    """Convert degrees Celsius to Kelvin."""
    return celsius + 273.15


@listed(miles=10, gives=16.09344)
def miles_to_kilometres(miles: float) -> float:
    """Convert miles to kilometres."""
    return round(miles * 1.609344, 6)


@listed(kilometres=16.09344, gives=10)
def kilometres_to_miles(kilometres: float) -> float:
    """Convert kilometres to miles."""
    return round(kilometres / 1.609344, 6)


@listed(feet=10, gives=3.048)
def feet_to_metres(feet: float) -> float:
    """Convert feet to metres."""
    return round(feet * 0.3048, 6)


@listed(metres=3.048, gives=10)
def metres_to_feet(metres: float) -> float:
    """Convert metres to feet."""
    return round(metres / 0.3048, 6)


@listed(inches=2, gives=5.08)
def inches_to_centimetres(inches: float) -> float:
    """Convert inches to centimetres."""
    return round(inches * 2.54, 6)


@listed(centimetres=5.08, gives=2)
def centimetres_to_inches(centimetres: float) -> float:
    """Convert centimetres to inches."""
    return round(centimetres / 2.54, 6)


@listed(pounds=10, gives=4.535924)
def pounds_to_kilograms(pounds: float) -> float:
    """Convert pounds to kilograms of weight."""
    return round(pounds * 0.45359237, 6)


@listed(kilograms=10, gives=22.046226)
def kilograms_to_pounds(kilograms: float) -> float:
    """Convert kilograms to pounds of weight."""
    return round(kilograms / 0.45359237, 6)


@listed(gallons=2, gives=7.570824)
def gallons_to_litres(gallons: float) -> float:
    """Convert gallons to litres."""
    return round(gallons * 3.785412, 6)


@listed(speed=36, gives=10)
def kmh_to_metres_per_second(speed: float) -> float:
    """Convert kilometres per hour to metres per second."""
    return round(speed / 3.6, 6)


@listed(hours=2.5, gives=150)
def hours_to_minutes(hours: float) -> float:
    """Convert hours to minutes."""
    return hours * 60


@listed(kilowatt_hours=2, gives=7.2)
def kilowatt_hours_to_megajoules(kilowatt_hours: float) -> float:
    """Convert kilowatt hours to megajoules of energy."""
    return kilowatt_hours * 3.6


@listed(size=1536, gives=1.5)
def bytes_to_kibibytes(size: float) -> float:
    """Convert bytes to kibibytes of data."""
    return size / 1024


@listed(hectares=2, gives=4.942108)
def hectares_to_acres(hectares: float) -> float:
    """Convert hectares to acres of land."""
    return round(hectares * 10_000 / 4046.8564224, 6)
