"""The functions that goals are reached with: each is described, typed, and has an example that a test runs."""

from llmsched.applications.taskmatrix.catalogue import dates, encoding, geometry, lists, money, numbers, tables, text
from llmsched.applications.taskmatrix.catalogue import statistics as statistics
from llmsched.applications.taskmatrix.catalogue import units as units
from llmsched.applications.taskmatrix.catalogue.define import EXAMPLES, Example, functions_of
from llmsched.tools import ToolRegistry

#: All functions by name. A registry of its own: for the system they are data of one tool, not tools.
CATALOGUE: ToolRegistry = functions_of(
    dates, encoding, geometry, lists, money, numbers, statistics, tables, text, units
)

__all__ = ["CATALOGUE", "EXAMPLES", "Example"]
