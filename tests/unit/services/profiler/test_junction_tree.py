"""Exact posteriors: against numbers computed by hand, and against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.profiler.core.junction_tree import Calibrated, Impossible, JunctionTree, eliminate, plan_elimination
from services.profiler.core.network import Array, Factor, Network
from tests.unit.services.profiler.networks import (
    entropy,
    enumerated,
    hard,
    marginal,
    network,
    networks_with_evidence,
    random_network,
)

#: Short or long; the second stage takes after the first, the third after the second.
CHAIN = network(([], [0.6, 0.4]), ([0], [[0.9, 0.1], [0.3, 0.7]]), ([1], [[0.8, 0.2], [0.1, 0.9]]))
#: Two causes of one effect, which always comes with both and never with none.
COLLIDER = network(([], [0.5, 0.5]), ([], [0.8, 0.2]), ([0, 1], [[[1, 0], [0.5, 0.5]], [[0.5, 0.5], [0, 1]]]))


def posterior(of: Network, likelihoods: dict[int, Array] | None = None) -> Calibrated:
    factors = of.factors()
    tree = JunctionTree([factor.scope for factor in factors], of.cards)
    return tree.calibrate(tree.potentials(factors), likelihoods or {})


def test_before_anything_is_seen_the_marginals_are_those_of_the_network():
    prior = posterior(CHAIN)
    assert prior.marginal(1) == pytest.approx([0.66, 0.34])  # .6*.9 + .4*.3
    assert prior.marginal(2) == pytest.approx([0.562, 0.438])  # .66*.8 + .34*.1
    assert prior.log_evidence == pytest.approx(0.0)


def test_evidence_flows_forward():
    assert posterior(CHAIN, {0: hard(1)}).marginal(2) == pytest.approx([0.31, 0.69])  # .3*.8 + .7*.1


def test_evidence_on_descendants_flows_back():
    found = posterior(CHAIN, {2: hard(1)})
    assert found.marginal(1) == pytest.approx(np.array([0.132, 0.306]) / 0.438)  # .66*.2, .34*.9
    # P(long, third long) = .4 * (.3*.2 + .7*.9) = .276; P(short, third long) = .6 * (.9*.2 + .1*.9) = .162
    assert found.marginal(0) == pytest.approx(np.array([0.162, 0.276]) / 0.438)
    assert np.exp(found.log_evidence) == pytest.approx(0.438)


def test_one_cause_explains_the_other_away():
    effect = posterior(COLLIDER, {2: hard(1)}).marginal(1)[1]
    # P(effect) = .5*.2*.5 + .5*.8*.5 + .5*.2 = .35; with the second cause .5*.2*.5 + .5*.2 = .15
    assert effect == pytest.approx(0.15 / 0.35)
    assert posterior(COLLIDER, {0: hard(1), 2: hard(1)}).marginal(1)[1] == pytest.approx(0.1 / 0.3)
    assert posterior(COLLIDER, {0: hard(1)}).marginal(1)[1] == pytest.approx(0.2)


def test_soft_likelihoods_weigh_states_and_only_ratios_matter():
    found = posterior(CHAIN, {1: np.array([0.2, 0.8])})
    # .66*.2 = .132, .34*.8 = .272
    assert found.marginal(1) == pytest.approx(np.array([0.132, 0.272]) / 0.404)
    assert posterior(CHAIN, {1: np.array([20.0, 80.0])}).marginal(0) == pytest.approx(found.marginal(0))


def test_what_is_seen_later_adds_to_what_was_seen_before():
    first = posterior(CHAIN, {0: hard(1)})
    both = first.tree.calibrate(first, {2: hard(0)})
    assert both.marginal(1) == pytest.approx(np.array([0.24, 0.07]) / 0.31)
    assert np.exp(both.log_evidence) == pytest.approx(0.4 * 0.31)
    assert first.marginal(1) == pytest.approx([0.3, 0.7])
    assert first.tree.calibrate(both, {}) is both


def test_impossible_evidence_is_refused_at_once_and_in_steps():
    prior = posterior(network(([], [0.5, 0.5]), ([0], [[1, 0], [0, 1]]), ([1], [[1, 0], [0, 1]])))
    with pytest.raises(Impossible, match="what was seen has probability 0"):
        prior.tree.calibrate(prior, {0: hard(1), 2: hard(0)})
    with pytest.raises(Impossible):
        prior.tree.calibrate(prior, {1: np.zeros(2)})
    step = prior.tree.calibrate(prior, {2: hard(0)})
    with pytest.raises(Impossible):
        step.tree.calibrate(step, {0: hard(1)})


def test_a_state_that_no_one_reaches_is_impossible_below_the_root():
    with pytest.raises(Impossible):
        posterior(network(([], [1.0]), ([], [1.0, 0.0])), {1: hard(1)})


@pytest.mark.parametrize(
    "likelihood", [np.ones(3), np.ones(1), np.ones((2, 1)), np.array([-1.0, 2.0]), np.array([np.nan, 1.0])]
)
def test_a_likelihood_must_fit_its_variable(likelihood: Array):
    with pytest.raises(ValueError, match=r"variable 1: .* is no likelihood of each of its 2 states"):
        posterior(CHAIN, {1: likelihood})


def test_a_likelihood_must_have_a_variable():
    with pytest.raises(ValueError, match="variable 3"):
        posterior(CHAIN, {3: np.ones(2)})
    part = JunctionTree([(0,), (0, 1)], CHAIN.cards)
    with pytest.raises(KeyError):
        part.calibrate(part.potentials(CHAIN.factors()[:2]), {2: np.ones(2)})


def test_parts_that_nothing_connects_do_not_influence_each_other():
    apart = network(([], [0.5, 0.5]), ([], [0.1, 0.9]), ([0], [[0.9, 0.1], [0.2, 0.8]]), ([1], [[0.5, 0.5], [1, 0]]))
    found = posterior(apart, {2: hard(1), 3: hard(0)})
    assert found.marginal(0) == pytest.approx(np.array([0.05, 0.4]) / 0.45)
    assert found.marginal(1) == pytest.approx(np.array([0.05, 0.9]) / 0.95)
    assert np.exp(found.log_evidence) == pytest.approx(0.45 * 0.95)


def test_a_single_variable():
    one = posterior(network(([], [0.25, 0.75])), {0: np.array([1.0, 0.5])})
    assert one.marginal(0) == pytest.approx([0.4, 0.6])
    assert one.sample(np.array([[0.0], [0.39], [0.41], [np.nextafter(1.0, 0.0)]])).tolist() == [[0], [0], [1], [1]]
    assert (one.tree.variables, one.tree.cells) == ([0], 2)


def test_no_variables():
    none = JunctionTree([], ())
    prior = none.potentials([])
    assert (none.variables, prior.log_evidence, prior.entropy()) == ([], 0.0, 0.0)
    assert prior.sample(np.zeros((3, 1))).shape == (3, 0)


def test_a_known_variable_has_one_state_left_everywhere():
    found = posterior(CHAIN, {1: np.array([0.0, 3.0])})
    assert found.known == {1: 1}
    assert found.marginal(1).tolist() == [0.0, 1.0]
    assert all(found.belief(index).size == 2 for index in range(2))
    again = found.tree.calibrate(found, {1: np.array([1.0, 0.5])})
    assert again.marginal(0) == pytest.approx(found.marginal(0))
    assert again.log_evidence == pytest.approx(found.log_evidence + np.log(0.5))
    with pytest.raises(Impossible):
        found.tree.calibrate(found, {1: hard(0)})


def test_only_variables_of_the_tree_have_a_marginal():
    with pytest.raises(KeyError):
        posterior(CHAIN).marginal(3)


def test_many_unlikely_observations_do_not_underflow():
    rows = [[1 - 1e-12, 1e-12], [1 - 1e-12, 1e-12]]
    long = network(([], rows[0]), *(([index], rows) for index in range(59)))
    found = posterior(long, {variable: hard(1) for variable in range(1, 60)})
    assert found.log_evidence == pytest.approx(59 * np.log(1e-12))
    assert found.marginal(0) == pytest.approx(rows[0])


@settings(deadline=None)
@given(networks_with_evidence())
def test_posteriors_are_those_of_enumeration(case: tuple[Network, dict[int, Array]]):
    of, likelihoods = case
    joint = enumerated(of, likelihoods)
    if joint.sum() <= 0.0:
        with pytest.raises(Impossible):
            posterior(of, likelihoods)
        return
    found = posterior(of, likelihoods)
    step = posterior(of)
    for variable, likelihood in likelihoods.items():
        step = step.tree.calibrate(step, {variable: likelihood})
    expected = joint / joint.sum()
    assert found.entropy() == pytest.approx(entropy(expected), abs=1e-9)
    for each in (found, step):
        assert each.log_evidence == pytest.approx(np.log(joint.sum()), abs=1e-9)
        for variable in range(len(of.names)):
            assert each.marginal(variable) == pytest.approx(marginal(expected, [variable]), abs=1e-9)
    for index, clique in enumerate(found.tree.cliques):
        table = Factor(tuple(sorted(clique.scope)), marginal(expected, clique.scope)).over(clique.scope)
        left = np.ix_(*([found.known[one]] if one in found.known else range(of.cards[one]) for one in clique.scope))
        assert found.belief(index) == pytest.approx(table[left], abs=1e-9)


@settings(deadline=None)
@given(networks_with_evidence(), st.data())
def test_what_is_summed_out_leaves_the_marginal(case: tuple[Network, dict[int, Array]], data: st.DataObject):
    of, _ = case
    keep = sorted(data.draw(st.sets(st.sampled_from(range(len(of.names))))))
    plan = plan_elimination([factor.scope for factor in of.factors()], keep, of.cards)
    left = eliminate(of.factors(), plan)
    assert tuple(factor.scope for factor in left) == plan.left
    assert sorted(plan.order) == [variable for variable in range(len(of.names)) if variable not in keep]
    product = np.ones([of.cards[variable] for variable in keep])
    for factor in left:
        product = product * factor.over(keep)
    assert product == pytest.approx(marginal(enumerated(of, {}), keep), abs=1e-9)


def test_elimination_begins_where_nothing_is_joined_even_if_its_tables_are_larger():
    plan = plan_elimination([(0, 1), (0, 2), (1, 3), (2, 4)], [1, 2], cards=[2, 2, 2, 10, 10])
    assert plan.order == (3, 4, 0)  # 0 would join 1 and 2
    assert plan.left == ((1,), (2,), (1, 2))
    assert plan.cells == 20 + 20 + 8


@settings(deadline=None)
@given(networks_with_evidence())
def test_samples_are_possible(case: tuple[Network, dict[int, Array]]):
    of, likelihoods = case
    joint = enumerated(of, likelihoods)
    assume(joint.sum() > 0.0)
    found = posterior(of, likelihoods)
    edges = np.array([0.0, 1e-15, 0.5, 1.0 - 1e-15, np.nextafter(1.0, 0.0)])
    uniforms = np.concatenate(
        [np.repeat(edges[:, np.newaxis], len(found.tree.cliques), axis=1),
         np.random.default_rng(1).random((50, len(found.tree.cliques)))]
    )  # fmt: skip
    assert (joint[tuple(found.sample(uniforms).T)] > 0.0).all()


def test_samples_come_as_often_as_they_are_likely():
    of = random_network(np.random.default_rng(3), 5)
    found = posterior(of, {4: np.linspace(1.0, 2.0, of.cards[4])})
    expected = enumerated(of, {4: np.linspace(1.0, 2.0, of.cards[4])})
    drawn = found.sample(np.random.default_rng(4).random((40_000, len(found.tree.cliques))))
    counts = np.zeros(of.cards)
    np.add.at(counts, tuple(drawn.T), 1.0)
    assert counts / 40_000 == pytest.approx(expected / expected.sum(), abs=0.01)


def test_variables_outside_of_the_tree_are_not_drawn():
    part = JunctionTree([(2,)], CHAIN.cards).potentials([Factor((2,), np.ones(2))])
    assert part.sample(np.array([[0.2], [0.7]])).tolist() == [[-1, -1, 0], [-1, -1, 1]]


def test_conditionals_that_evidence_left_alone_draw_the_same():
    prior = posterior(CHAIN)
    uniforms = np.random.default_rng(5).random((100, len(prior.tree.cliques)))
    before = prior.sample(uniforms)
    after = prior.tree.calibrate(prior, {0: np.array([1.0, 1.0])}).sample(uniforms)
    assert (before == after).all()
    assert (prior.sample(uniforms) == before).all()
