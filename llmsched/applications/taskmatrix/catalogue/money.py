"""Functions on prices, loans and savings."""

from __future__ import annotations

from llmsched.applications.taskmatrix.catalogue.define import listed


@listed(price=80, percent=25, gives=60)
def discount(price: float, percent: float) -> float:
    """Compute a price after a discount in percent."""
    return round(price * (1 - percent / 100), 2)


@listed(price=100, percent=19, gives=119)
def add_tax(price: float, percent: float) -> float:
    """Add a tax in percent to a price."""
    return round(price * (1 + percent / 100), 2)


@listed(bill=50, percent=10, gives=5)
def tip(bill: float, percent: float) -> float:
    """Compute the tip on a bill in a restaurant."""
    return round(bill * percent / 100, 2)


@listed(bill=90, people=4, gives=22.5)
def split_bill(bill: float, people: int) -> float:
    """Split a bill evenly among people."""
    return round(bill / people, 2)


@listed(amount=1000, percent=5, years=2, gives=1102.5)
def compound_interest(amount: float, percent: float, years: float) -> float:
    """Compute what savings become with compound interest."""
    return round(amount * (1 + percent / 100) ** years, 2)


@listed(amount=1000, percent=5, years=2, gives=100)
def simple_interest(amount: float, percent: float, years: float) -> float:
    """Compute the simple interest on an amount."""
    return round(amount * percent / 100 * years, 2)


@listed(amount=12000, percent=6, years=1, gives=1032.8)
def loan_payment(amount: float, percent: float, years: float) -> float:
    """Compute the monthly payment of a loan."""
    months, rate = years * 12, percent / 1200
    return round(amount / months if not rate else amount * rate / (1 - (1 + rate) ** -months), 2)


@listed(cost=40, price=50, gives=20)
def margin(cost: float, price: float) -> float:
    """Compute the profit margin of a price in percent."""
    return round(100 * (price - cost) / price, 2)


@listed(amount=50, rate=1.1, gives=55)
def exchange(amount: float, rate: float) -> float:
    """Exchange an amount of money at a rate."""
    return round(amount * rate, 2)


@listed(price=6, quantity=1.5, gives=4)
def unit_price(price: float, quantity: float) -> float:
    """Compute the price of one unit of a quantity."""
    return round(price / quantity, 2)
