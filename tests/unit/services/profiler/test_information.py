"""What the end of a stage tells of others: the properties that R(X|E) must have, and enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profiler.core.information import Bits, Information, Reduction, TooLarge, spread, support
from services.profiler.core.junction_tree import Impossible
from services.profiler.core.network import Array, Network
from tests.unit.services.profiler.networks import (
    entropy,
    enumerated,
    hard,
    marginal,
    network,
    networks_with_evidence,
    random_network,
)

HALF = [0.5, 0.5]
COPY = [[1.0, 0.0], [0.0, 1.0]]
NOTHING = [HALF, HALF]
#: Seconds in each state, the same for all stages.
SECONDS = np.array([0.0, 100.0])


def information(of: Network, cells: int = 100_000, samples: int = 512) -> Information:
    return Information(of, np.random.default_rng(1).random((samples, len(of.names))), cells)


def bits(of: Network, variable: int, others: list[int], likelihoods: dict[int, Array] | None = None) -> float:
    found = information(of).mutual_information(variable, others, likelihoods or {})
    assert found.error == 0.0
    return found.value


def reductions(of: Network, ready: list[int], seconds: Array = SECONDS, absent: bool = False) -> dict[int, Reduction]:
    """Nothing has ended yet."""
    every = range(len(of.names))
    return information(of).reductions(
        ready, every, {}, dict.fromkeys(every, seconds), dict.fromkeys(every, 0) if absent else {}
    )


def by_enumeration(of: Network, variable: int, others: list[int], likelihoods: dict[int, Array]) -> float:
    joint = enumerated(of, likelihoods)
    joint = joint / joint.sum()
    every = [variable, *others]
    return entropy(marginal(joint, [variable])) + entropy(marginal(joint, others)) - entropy(marginal(joint, every))


# Range


def test_a_stage_that_may_be_absent_ranges_from_nothing():
    assert support(np.array([0.5, 0.5]), SECONDS) == (0.0, 100.0)
    assert spread(np.array([0.5, 0.5]), SECONDS) == 100.0


def test_unlikely_states_do_not_widen_a_range():
    seconds = np.array([0.0, 3.0, 5.0, 900.0])
    assert support(np.array([0.0099, 0.5, 0.4802, 0.0099]), seconds) == (3.0, 5.0)
    assert support(np.array([0.01, 0.5, 0.48, 0.01]), seconds) == (0.0, 900.0)
    assert spread(np.array([0.0, 0.0, 1.0, 0.0]), seconds) == 0.0


# Mutual information


def test_equal_entropy_is_not_equal_information():
    """A policy that ranks by entropy cannot tell these apart."""
    of = network(([], HALF), ([], HALF), ([0], [[0.9, 0.1], [0.1, 0.9]]), ([1], [[0.6, 0.4], [0.4, 0.6]]))
    assert information(of).entropy([0], {}) == information(of).entropy([1], {}) == 1.0
    found = reductions(of, [0, 1])
    assert found[0].ranges == found[1].ranges == 100.0
    # 1 - H(0.9), 1 - H(0.6)
    assert found[0].information.value == pytest.approx(0.531, abs=1e-3)
    assert found[1].information.value == pytest.approx(0.029, abs=1e-3)
    assert found[0].value > found[1].value


def test_the_same_marginals_may_be_jointly_different():
    tied, free = network(([], HALF), ([0], COPY)), network(([], HALF), ([0], NOTHING))
    assert reductions(tied, [0])[0].value == pytest.approx(100.0)
    assert reductions(free, [0])[0].value == pytest.approx(0.0)


def test_what_two_stages_say_alike_counts_once():
    twins = network(([], HALF), ([0], COPY), ([0, 1], [[[1, 0], HALF], [HALF, [0, 1]]]))
    assert bits(twins, 0, [1]) == bits(twins, 0, [2]) == pytest.approx(1.0)
    assert bits(twins, 0, [1, 2]) == pytest.approx(1.0)


def test_what_no_stage_says_alone_two_may_say_together():
    parity = network(([], HALF), ([], HALF), ([0, 1], [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]))
    assert (bits(parity, 0, [1]), bits(parity, 0, [2])) == (0.0, 0.0)
    assert bits(parity, 0, [1, 2]) == pytest.approx(1.0)
    assert bits(parity, 0, [1], {2: hard(1)}) == pytest.approx(1.0)


def test_evidence_can_take_all_information_away():
    chain = network(([], HALF), ([0], [[0.9, 0.1], [0.2, 0.8]]), ([1], [[0.7, 0.3], [0.4, 0.6]]))
    assert bits(chain, 0, [2]) > 0.01
    assert bits(chain, 0, [2], {1: hard(0)}) == 0.0
    assert bits(chain, 0, [1, 2], {0: hard(1)}) == pytest.approx(0.0)
    assert bits(chain, 0, []) == 0.0


def test_a_variable_does_not_inform_about_itself():
    with pytest.raises(ValueError, match="variable 0 is one of the others"):
        information(network(([], HALF))).mutual_information(0, [0], {})


@settings(deadline=None)
@given(networks_with_evidence(), st.data())
def test_information_is_that_of_enumeration(case: tuple[Network, dict[int, Array]], data: st.DataObject):
    of, likelihoods = case
    every = data.draw(st.permutations(range(len(of.names))))
    variable, others = every[0], sorted(every[1 : data.draw(st.integers(1, len(every)))])
    if enumerated(of, likelihoods).sum() <= 0.0:
        with pytest.raises(Impossible):
            information(of).mutual_information(variable, others, likelihoods)
        return
    expected = by_enumeration(of, variable, others, likelihoods)
    assert bits(of, variable, others, likelihoods) == pytest.approx(expected, abs=1e-9)
    joint = enumerated(of, likelihoods)
    expected = entropy(marginal(joint / joint.sum(), others))
    assert information(of).entropy(others, likelihoods) == pytest.approx(expected, abs=1e-9)


# Reduction of uncertainty


def test_ranges_are_summed_over_the_stages_that_the_information_is_about():
    of = network(([], HALF), ([0], COPY), ([0], NOTHING), ([], HALF))
    found = reductions(of, [0], seconds=np.array([10.0, 40.0]))[0]
    assert found == Reduction(Bits(pytest.approx(1.0)), 60.0)  # of stages 1 and 2; no path leads to 3
    assert found.value == pytest.approx(60.0)


def test_finished_stages_count_in_neither_factor():
    of = network(([], HALF), ([0], COPY), ([0], NOTHING))
    values = dict.fromkeys(range(3), SECONDS)
    assert information(of).reductions([0], {0, 2}, {}, values, {})[0] == Reduction(Bits(pytest.approx(0.0)), 100.0)
    assert information(of).reductions([0], {0, 1}, {}, values, {})[0] == Reduction(Bits(pytest.approx(1.0)), 100.0)
    assert information(of).reductions([0], {0}, {}, values, {})[0] == Reduction(Bits(0.0), 0.0)


def test_structure_variables_are_hidden_unless_seen():
    """A width that nobody has seen yet ties two stages, and is itself no stage."""
    of = network(([], HALF), ([0], COPY), ([1], COPY))
    values = {0: SECONDS, 2: SECONDS}
    assert information(of).reductions([0], {0, 2}, {}, values, {})[0].value == pytest.approx(100.0)
    assert information(of).reductions([0], {0, 2}, {1: hard(1)}, values, {})[0] == Reduction(Bits(0.0), 0.0)


def test_a_ready_stage_is_present():
    """Absent, short, long: that it might be absent is not what running it would tell."""
    of = network(([], [0.5, 0.25, 0.25]), ([0], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    found = reductions(of, [0], np.array([0.0, 10.0, 30.0]), absent=True)[0]
    assert (found.information.value, found.ranges) == (pytest.approx(1.0), 20.0)
    assert reductions(of, [0], np.array([0.0, 10.0, 30.0]))[0].ranges == 30.0


def test_presence_adds_to_what_was_seen_and_leaves_the_evidence_alone():
    of = network(([], [0.5, 0.25, 0.25]), ([0], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    seen = {0: np.array([1.0, 0.0, 1.0])}
    found = information(of).reductions([0], {0, 1}, seen, dict.fromkeys((0, 1), np.arange(3.0)), {0: 0})
    assert found[0] == Reduction(Bits(0.0), 0.0)
    assert seen[0].tolist() == [1.0, 0.0, 1.0]


# Limits


def star(children: int) -> Network:
    """One stage that many others depend on."""
    random = np.random.default_rng(2)
    return network(
        ([], random.dirichlet(np.ones(4))), *(([0], random.dirichlet(np.ones(4), size=4)) for _ in range(children))
    )


def test_an_entropy_that_is_too_large_is_refused():
    with pytest.raises(TooLarge, match="an exact answer needs 5,120 cells, more than 5,000"):
        information(star(5), cells=5_000).entropy(range(1, 6), {})


def test_what_is_too_large_is_drawn_within_its_error():
    exact = information(star(5)).mutual_information(0, range(1, 6), {})
    drawn = information(star(5), cells=1_000).mutual_information(0, range(1, 6), {})
    assert exact.error == 0.0
    assert 0.0 < drawn.error < 0.03
    assert abs(drawn.value - exact.value) < 3 * drawn.error
    many = information(star(12)).mutual_information(0, range(1, 13), {})
    assert exact.value < many.value <= information(star(12)).entropy([0], {})


def test_the_error_is_what_it_says():
    """Twice the standard error covers about 95 of 100; of these 40 sets of draws all but a few."""
    exact = information(star(5)).mutual_information(0, range(1, 6), {}).value
    covered = 0
    for seed in range(40):
        uniforms = np.random.default_rng(seed).random((256, 6))
        drawn = Information(star(5), uniforms, cells=0).mutual_information(0, range(1, 6), {})
        covered += abs(drawn.value - exact) <= 2 * drawn.error
    assert covered >= 36


@pytest.mark.parametrize("seed", range(20))
def test_drawing_is_right_with_hidden_variables_too(seed: int):
    of = random_network(np.random.default_rng(seed), 7)
    seen = {6: np.linspace(0.5, 1.0, of.cards[6])}
    expected = by_enumeration(of, 0, [2, 3, 5], seen)
    drawn = information(of, cells=0, samples=4_096).mutual_information(0, [2, 3, 5], seen)
    assert abs(drawn.value - expected) <= 4 * drawn.error + 1e-9


def test_the_error_falls_with_the_root_of_the_number_of_draws():
    few, many = (
        information(star(8), 0, samples).mutual_information(0, range(1, 9), {}).error for samples in (64, 4_096)
    )
    assert few / many == pytest.approx(8.0, rel=0.5)


def test_stages_that_are_asked_about_together_are_drawn_for_as_if_alone():
    of = random_network(np.random.default_rng(8), 7)
    every = range(7)
    values = {one: np.arange(float(of.cards[one])) for one in every}
    drawn = information(of, cells=0, samples=64)
    both = drawn.reductions([0, 1], every, {}, values, {})
    assert max(one.information.error for one in both.values()) > 0.0
    assert {**drawn.reductions([0], every, {}, values, {}), **drawn.reductions([1], every, {}, values, {})} == both


def test_where_a_draw_is_dear_there_are_fewer(monkeypatch: pytest.MonkeyPatch):
    """The answer is as right as before, within an error that says so; and the tables are as small as they may be."""
    of = random_network(np.random.default_rng(5), 7)
    expected = by_enumeration(of, 0, [2, 3, 5], {})
    many = information(of, cells=0, samples=1024).mutual_information(0, [2, 3, 5], {})
    monkeypatch.setattr("services.profiler.core.information.DRAWN_CELLS", 500)
    few = information(of, cells=0, samples=1024).mutual_information(0, [2, 3, 5], {})
    assert few.error > 2 * many.error > 0.0
    assert abs(few.value - expected) <= 4 * few.error
    monkeypatch.setattr("services.profiler.core.information.DRAWN_CELLS", 1)
    fewest = information(of, cells=0, samples=1024).mutual_information(0, [2, 3, 5], {})
    sixteen = information(of, cells=0, samples=16).mutual_information(0, [2, 3, 5], {})
    assert fewest.error > few.error
    assert fewest.error == pytest.approx(sixteen.error, rel=1.0)


@pytest.mark.parametrize("shape", [(1, 2), (8, 1), (8,)])
def test_drawing_needs_numbers_for_every_variable(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="cannot draw twice from 2 variables"):
        Information(network(([], HALF), ([0], COPY)), np.zeros(shape))
