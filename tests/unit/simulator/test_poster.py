"""The poster's Table I: the command, its JSON, and a model that scales as it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from simulator.metrics import JctSummary
from simulator.poster import table
from simulator.poster.figures import figures
from simulator.poster.published import APPLICATION_ORDER, TABLE
from simulator.poster.table import Cell, measure, order_checks, seeds_from
from simulator.poster.world import Parameters, applications, committed_fit, fit_json, jobs, read_fit, scaled
from simulator.workload import task_work
from services.profiler.core.statistics import WorkModel
from simulator.poster.world import MILLISECONDS

FOUR = (10, 20, 30, 40)
