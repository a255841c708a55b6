"""Networks: gradients against torch's and finite differences, options against their definitions."""

import math
import os
import pickle
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from rlbook.envs.observations import Observations
from rlbook.nn.dense import Dense
from rlbook.nn.q_network import needs_torch, q_network
from rlbook.nn.torch_networks import QNetwork, TorchNetwork

VECTOR = Observations((5,))
OPTIONS = [
    pytest.param({"dueling": dueling, "noisy": noisy, "num_atoms": atoms}, id=name)
    for dueling in (False, True)
    for noisy in (False, True)
    for atoms in (0, 7)
    for name in [f"{'dueling' * dueling}-{'noisy' * noisy}-{'atoms' * bool(atoms)}"]
]
SIZES = [((4, 2), None), ((4, 32, 3), None), ((5, 16, 9, 6), (2, 3))]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def torch_network(
    observations=VECTOR, num_actions=3, hidden=(16, 8), channels=(12, 10), seed=1, **options
):
    make = partial(QNetwork, observations, num_actions, hidden, channels, **options)
    return TorchNetwork(make, seed, "cpu")


def network_of(kind, observations, num_actions, hidden, *, num_atoms=0, seed=0):
    """A network of linear layers, by NumPy or by torch."""
    if kind is Dense:
        return q_network(observations, num_actions, hidden, num_atoms=num_atoms, seed=seed)
    return torch_network(observations, num_actions, hidden, (), seed, num_atoms=num_atoms)


BOTH = pytest.mark.parametrize("kind", [Dense, TorchNetwork])
EVERY_KIND = [
    pytest.param(partial(network_of, Dense), id="numpy"),
    pytest.param(partial(network_of, TorchNetwork), id="torch"),
    pytest.param(partial(q_network, dueling=True, noisy=True), id="dueling-noisy"),
]


# Dense


@pytest.mark.parametrize("sizes, out_shape", SIZES)
def test_what_dense_says_and_its_gradient_are_those_of_the_same_layers_in_torch(sizes, out_shape):
    network, obs = Dense(sizes, 3, out_shape), normal(10, sizes[0])
    out, backward = network.vjp(obs)
    slopes = normal(*out.shape, seed=1)
    layers = [
        [torch.from_numpy(part.copy()).requires_grad_() for part in pair]
        for pair in network.layers(network.get_weights())
    ]
    x = torch.from_numpy(obs)
    for i, (weight, bias) in enumerate(layers):
        x = functional.linear(torch.relu(x) if i else x, weight, bias)
    x.backward(torch.from_numpy(slopes.reshape(x.shape)))

    assert out.shape == (10, *(out_shape or sizes[-1:])) and out.dtype == np.float32
    np.testing.assert_allclose(out.reshape(x.shape), x.detach(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(network(obs), out)
    gradient = backward(slopes)
    assert gradient.shape == network.get_weights().shape and gradient.dtype == np.float32
    for found, expected in zip(network.layers(gradient), layers, strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes, out_shape", SIZES)
def test_the_gradient_of_dense_is_what_happens_when_one_weight_moves(sizes, out_shape):
    network, obs = Dense(sizes, 5, out_shape), normal(6, sizes[0])
    network.weights = network.weights.astype(np.float64)
    out, backward = network.vjp(obs)
    slopes = normal(*out.shape, seed=1).astype(np.float64)
    gradient, weights = backward(slopes), network.weights.copy()
    for i in range(len(weights)):
        up, down = (
            (moved(network, weights, i, step)(obs) * slopes).sum() for step in (1e-6, -1e-6)
        )
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-7)


def moved(network, weights, i, step):
    """The network with one of its weights moved."""
    network.set_weights(weights)
    network.weights[i] += step
    return network


def test_layers_are_windows_onto_one_vector_in_order():
    network = Dense((3, 5, 2), 0)
    vector = np.arange(3 * 5 + 5 + 5 * 2 + 2, dtype=np.float32)
    network.set_weights(vector)
    parts = [part for pair in network.layers(network.get_weights()) for part in pair]
    assert [part.shape for part in parts] == [(5, 3), (5,), (2, 5), (2,)]
    assert all(np.shares_memory(part, network.weights) for part in parts)
    assert [(part.min(), part.max()) for part in parts] == [(0, 14), (15, 19), (20, 29), (30, 31)]
    vector[:] = 0
    assert network.get_weights().max() == 31  # what was given has been copied


def test_only_convolutions_mind_how_many_axes_there_are():
    observations, obs = Observations((2, 3, 4, 5)), normal(6, 2, 3, 4, 5)
    assert torch_network(observations, channels=(), dueling=True)(obs).shape == (6, 3)
    with pytest.raises(
        ValueError, match=r"^observations must have at most 3 axes, got shape \(2, 3, 4, 5\)\. Pass"
    ):
        torch_network(observations)


def test_observations_with_several_axes_are_laid_flat():
    network, obs = Dense((6, 4, 2), 0), normal(3, 2, 3)
    np.testing.assert_array_equal(network(obs), network(obs.reshape(3, 6)))
    np.testing.assert_array_equal(network(np.ones((2, 6), np.int64)), network(np.ones((2, 6))))


@BOTH
@pytest.mark.parametrize("shape", [(1,), (31,), (33,), (1, 32), ()])
def test_weights_of_another_network_are_refused(kind, shape):
    """One number would otherwise become every weight."""
    network = network_of(kind, Observations((3,)), 2, (5,))
    assert type(network) is kind
    before = network.get_weights().copy()
    message = rf"^weights must have shape \(32,\), got {re.escape(str(shape))}$"
    with pytest.raises(ValueError, match=message):
        network.set_weights(np.ones(shape, np.float32))
    np.testing.assert_array_equal(network.get_weights(), before)


# Seeds and first weights


@pytest.mark.parametrize("make", EVERY_KIND)
def test_a_seed_makes_the_weights_and_leaves_other_chance_alone(make):
    before = torch.get_rng_state()
    one, same, other = (
        make(VECTOR, 3, (16, 16), seed=seed).get_weights().copy() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@BOTH
def test_first_weights_are_uniform_within_one_over_the_root_of_the_inputs(kind):
    network = network_of(kind, Observations((100,)), 300, (400,), seed=3)
    weights = network.get_weights()
    first, last = weights[: 101 * 400], weights[101 * 400 :]
    for part, bound in ((first, 0.1), (last, 0.05)):
        assert 0.999 * bound < np.abs(part).max() <= bound
        assert abs(part.mean()) < 5 * bound / math.sqrt(3 * len(part))
        assert part.var() == pytest.approx(bound**2 / 3, rel=0.02)


def test_the_noise_of_new_noisy_layers_is_as_fortunato_et_al_have_it():
    hidden, out = (
        layer
        for layer in torch_network(noisy=True, hidden=(25,)).module.advantage.children()
        if hasattr(layer, "weight_sigma")
    )
    for layer, num_in in ((hidden, 5), (out, 25)):
        assert layer.weight_sigma.unique() == layer.bias_sigma.unique()
        assert layer.weight_sigma[0, 0].item() == pytest.approx(0.5 / math.sqrt(num_in))
        assert layer.weight.abs().max() <= 1 / math.sqrt(num_in)


# Which network is used


@pytest.mark.parametrize(
    "shape, options, expected",
    [
        ((4,), {}, Dense),
        ((4,), {"channels": (8,)}, Dense),
        ((4,), {"num_atoms": 5}, Dense),
        ((4, 4), {}, Dense),
        ((4, 4), {"channels": (8,)}, TorchNetwork),
        ((4,), {"dueling": True}, TorchNetwork),
        ((4,), {"noisy": True}, TorchNetwork),
        ((4,), {"num_atoms": 5, "dueling": True}, TorchNetwork),
    ],
)
def test_torch_is_used_where_numpy_will_not_do(shape, options, expected):
    network = q_network(Observations(shape), 2, (8,), **options)
    assert type(network) is expected
    assert network(np.zeros((3, *shape), np.float32)).shape == (
        (3, 2, 5) if "num_atoms" in options else (3, 2)
    )


def test_a_gpu_needs_torch():
    assert needs_torch(VECTOR, (), dueling=False, noisy=False, device="cuda")
    assert not needs_torch(VECTOR, (), dueling=False, noisy=False, device="cpu")


# Threads


LATER = """
from threadpoolctl import threadpool_info
from rlbook.nn.threads import one_thread

def threads():
    return {each["filepath"]: each["num_threads"] for each in threadpool_info()}

with one_thread():
    early = set(threads())
import torch
before = threads()
assert set(before) - early and set(before.values()) == {2}, before
with one_thread():
    assert set(threads().values()) == {1} and torch.get_num_threads() == 1, threads()
assert threads() == before
"""


def test_one_thread_is_one_also_for_torch_that_is_imported_later():
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = {**os.environ, **dict.fromkeys(names, "2")}
    found = subprocess.run([sys.executable, "-c", LATER], env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


# What torch differentiates


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_by_torch_networks_are_those_of_autograd(options):
    network, obs = torch_network(**options), normal(4, 5)
    noise = normal(4, network.noise_size) if options["noisy"] else None
    out, backward = network.vjp(obs, noise)
    slopes = normal(*out.shape, seed=1)
    first = backward(slopes)

    arguments = [None if each is None else torch.from_numpy(each) for each in (obs, noise)]
    again = network.module(*arguments)
    parameters = list(network.module.parameters())
    expected = torch.autograd.grad(again, parameters, torch.from_numpy(slopes))
    np.testing.assert_allclose(out, again.detach())
    np.testing.assert_allclose(first, torch.cat([e.flatten() for e in expected]), atol=1e-6)
    np.testing.assert_array_equal(network(obs, noise), out)
    # A gradient is that of one batch, and stays what it is when the next is computed.
    kept = first.copy()
    np.testing.assert_array_equal(network.vjp(obs, noise)[1](slopes), kept)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("options", OPTIONS)
def test_one_vector_holds_all_weights(options):
    network, other = torch_network(seed=1, **options), torch_network(seed=2, **options)
    obs = normal(3, 5)
    parameters = list(network.module.parameters())
    assert len(network.get_weights()) == sum(parameter.numel() for parameter in parameters)
    assert (network(obs) != other(obs)).any()
    given = network.get_weights().copy()
    given.flags.writeable = False  # as what arrives from another process may be
    other.set_weights(given)
    np.testing.assert_array_equal(network(obs), other(obs))


@pytest.mark.parametrize("make", EVERY_KIND)
def test_a_network_that_travels_says_the_same_and_can_learn_on(make):
    network = make(VECTOR, 3, (16, 8), seed=1)
    network.set_weights(normal(len(network.get_weights())))
    other, obs = pickle.loads(pickle.dumps(network)), normal(4, 5)
    np.testing.assert_array_equal(other(obs), network(obs))
    assert other.noise_size == network.noise_size
    kept, slopes = network(obs), np.ones((4, 3), np.float32)
    for each in (network, other):
        each.optimiser(1e-8).step(each.vjp(obs)[1](slopes), 0.1, 10.0)
        np.testing.assert_array_equal(other(obs) == kept, each is network)
    np.testing.assert_array_equal(other(obs), network(obs))


@pytest.mark.parametrize("num_atoms", [0, 4])
def test_one_vector_of_weights_means_the_same_network_in_numpy_and_in_torch(num_atoms):
    """A file that a GPU's agent saved is loaded on a machine without one, and learns on there."""
    dense = q_network(VECTOR, 3, (16, 8), num_atoms=num_atoms, seed=4)
    twin = network_of(TorchNetwork, VECTOR, 3, (16, 8), num_atoms=num_atoms)
    twin.set_weights(dense.get_weights())
    obs = normal(6, 5)
    (out, backward), (twin_out, twin_backward) = dense.vjp(obs), twin.vjp(obs)
    np.testing.assert_allclose(out, twin_out, rtol=1e-4, atol=1e-6)
    slopes = normal(*out.shape, seed=1)
    np.testing.assert_allclose(backward(slopes), twin_backward(slopes), rtol=1e-4, atol=1e-5)


def test_bytes_are_scaled_the_same_in_numpy_and_in_torch():
    """An agent's memory of 128 bytes, say: on the CPU it goes through `Dense`."""
    told = Observations((5,), "uint8", scale=255.0), Observations((5,))
    obs = np.random.default_rng(0).integers(0, 256, (6, 5)).astype(np.uint8)
    for kind in (Dense, TorchNetwork):
        of_bytes, of_floats = (network_of(kind, o, 3, (8,), seed=1) for o in told)
        expected = of_floats((obs / 255).astype(np.float32))
        np.testing.assert_allclose(of_bytes(obs), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "told, low, high",
    [
        (Observations((4, 5), "int8", levels=4, low=-1), -1, 3),
        (Observations((4, 5)), -1, 3),
        (Observations((7, 8, 2), "uint8", scale=255.0), 0, 256),
    ],
)
def test_a_board_that_is_laid_flat_is_the_same_in_numpy_and_in_torch(told, low, high):
    flat, twin = (network_of(kind, told, 3, (8,), seed=2) for kind in (Dense, TorchNetwork))
    twin.set_weights(flat.get_weights())
    obs = np.random.default_rng(0).integers(low, high, (6, *told.shape)).astype(told.dtype)
    np.testing.assert_allclose(flat(obs), twin(obs), rtol=1e-4, atol=1e-6)


# The options


@pytest.mark.parametrize("options", OPTIONS)
def test_shapes(options):
    network = torch_network(num_actions=3, **options)
    out_shape = (3, 7) if options["num_atoms"] else (3,)
    assert network(normal(4, 5)).shape == (4, *out_shape)
    atoms = max(options["num_atoms"], 1)
    per_head = [16 + 8 + 8 + 3 * atoms]  # a head takes 16 features through 8 units
    if options["dueling"]:
        per_head.append(16 + 8 + 8 + atoms)
    assert network.noise_size == (sum(per_head) if options["noisy"] else 0)


@pytest.mark.parametrize("num_atoms", [0, 7])
def test_dueling_heads_give_a_value_and_advantages_whose_mean_is_0(num_atoms):
    """Q = V + A - mean(A): so the mean of Q over the actions is V, and no other A would do."""
    module = torch_network(dueling=True, num_atoms=num_atoms).module
    obs = torch.from_numpy(normal(4, 5))
    q, features = module(obs), module.body(obs)
    value = module.value(features).view(4, 1, *q.shape[2:])
    advantage = module.advantage(features).view(q.shape)
    torch.testing.assert_close(q.mean(dim=1, keepdim=True), value)
    torch.testing.assert_close(q - value, advantage - advantage.mean(dim=1, keepdim=True))


def by_definition(module, obs, noise):
    """What a noisy network says for one row, with every weight matrix written out, in float64."""
    start = 0

    def noisy_layer(layer, x):
        nonlocal start
        (num_out, num_in), end = layer.weight.shape, start + sum(layer.weight.shape)
        eps_in, eps_out = noise[start : start + num_in], noise[start + num_in : end]
        assert len(eps_out) == num_out
        start = end
        weight = layer.weight.double() + layer.weight_sigma.double() * torch.outer(eps_out, eps_in)
        return weight @ x + layer.bias.double() + layer.bias_sigma.double() * eps_out

    def head(each, x):
        return noisy_layer(each.out, noisy_layer(each.hidden, x).relu())

    features = module.body(obs).double()[0]
    out = head(module.advantage, features)
    out = out.view(module.num_actions, -1)
    if module.value is not None:
        out = out - out.mean(dim=0) + head(module.value, features)
    assert start == len(noise)
    return out.flatten()


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("num_atoms", [0, 7])
def test_noisy_layers_against_the_definition(dueling, num_atoms):
    network = torch_network(noisy=True, dueling=dueling, num_atoms=num_atoms)
    network.set_weights(normal(len(network.get_weights()), seed=2) / 4)  # each sigma another
    obs, noise = normal(1, 5), normal(1, network.noise_size, seed=3)
    with torch.no_grad():
        row = torch.from_numpy(noise[0]).double()
        expected = by_definition(network.module, torch.from_numpy(obs), row)
    np.testing.assert_allclose(network(obs, noise).ravel(), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(network(obs, noise) - network(obs)).max() > 0.01


@pytest.mark.parametrize("dueling", [False, True])
def test_each_row_can_have_noise_of_its_own_and_all_rows_the_same(dueling):
    network = torch_network(noisy=True, dueling=dueling)
    obs, noise = normal(4, 5), normal(4, network.noise_size, seed=3)
    together = network(obs, noise)
    alone = [network(obs[i : i + 1], noise[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)
    one_for_all = network(obs, noise[:1])
    repeated = network(obs, np.repeat(noise[:1], 4, axis=0))
    np.testing.assert_allclose(one_for_all, repeated, rtol=1e-4, atol=1e-6)
    assert np.abs(together - one_for_all)[1:].max() > 1e-3


def test_without_noise_the_means_decide():
    network, obs = torch_network(noisy=True, dueling=True), normal(4, 5)
    expected = network(obs)
    np.testing.assert_allclose(
        network(obs, np.zeros((1, network.noise_size), np.float32)), expected, atol=1e-6
    )
    with torch.no_grad():
        for name, parameter in network.module.named_parameters():
            if name.endswith("sigma"):
                parameter.fill_(100.0)
    np.testing.assert_array_equal(network(obs), expected)


# Pictures


BOARD = [12, 10]


@pytest.mark.parametrize(
    "shape, channels, sides, filters",
    [
        ((6, 7), 1, (6, 7), BOARD),
        ((3, 6, 7), 3, (6, 7), BOARD),
        ((5, 6, 7), 5, (6, 7), BOARD),
        ((6, 7, 3), 3, (6, 7), BOARD),
        ((35, 36), 1, (35, 36), BOARD),
        ((36, 36), 1, (1, 1), [32, 64, 64]),
        ((84, 84), 1, (7, 7), [32, 64, 64]),
        ((4, 84, 84), 4, (7, 7), [32, 64, 64]),
        ((84, 84, 3), 3, (7, 7), [32, 64, 64]),
    ],
)
def test_boards_keep_their_size_and_frames_shrink_as_in_the_atari_papers(
    shape, channels, sides, filters
):
    network = torch_network(Observations(shape), num_actions=2, hidden=(8,), channels=BOARD)
    body = network.module.body
    kernels = [tuple(p.shape) for name, p in body.named_parameters() if name.endswith("weight")]
    widths = [3] * len(filters) if filters is BOARD else [8, 4, 3]
    expected = zip(filters, [channels, *filters], widths, widths, strict=False)
    assert kernels == list(expected)
    assert body.num_features == filters[-1] * math.prod(sides)
    assert network(normal(2, *shape)).shape == (2, 2)


def test_each_kind_of_thing_on_a_board_has_a_plane_of_its_own():
    kinds = torch_network(Observations((6, 7), "int8", levels=4, low=-1), seed=5)
    planes = torch_network(Observations((4, 6, 7)), seed=5)
    obs = np.random.default_rng(0).integers(-1, 3, (3, 6, 7)).astype(np.int8)
    laid_out = np.stack([obs == kind for kind in (-1, 0, 1, 2)], axis=1).astype(np.float32)
    np.testing.assert_allclose(kinds(obs), planes(laid_out), rtol=1e-5, atol=1e-6)


def test_a_picture_goes_through_the_published_convolutions():
    network = torch_network(Observations((4, 84, 84), "uint8", 255.0), num_actions=2, hidden=(512,))
    obs = np.random.default_rng(0).integers(0, 256, (2, 4, 84, 84)).astype(np.uint8)
    x = torch.from_numpy(obs / 255.0).float()
    with torch.no_grad():
        weights = iter(network.module.parameters())
        for stride in (4, 2, 1):
            x = functional.conv2d(x, next(weights), next(weights), stride).relu()
        x = functional.linear(x.flatten(1), next(weights), next(weights)).relu()
        x = functional.linear(x, next(weights), next(weights))
    np.testing.assert_allclose(network(obs), x, rtol=1e-3, atol=1e-5)
    # 1,684,128 weights and biases of Mnih et al. (2015) below the output layer.
    assert len(network.get_weights()) - 2 * 513 == 1_684_128


@pytest.mark.parametrize("size", [6, 40])
def test_colours_may_come_last(size):
    first = torch_network(Observations((3, size, size)), seed=5)
    last = torch_network(Observations((size, size, 3)), seed=5)
    obs = normal(2, 3, size, size)
    np.testing.assert_allclose(last(obs.transpose(0, 2, 3, 1)), first(obs), rtol=1e-4, atol=1e-6)


def test_a_board_without_channels_has_one():
    flat, deep = (torch_network(Observations(shape), seed=5) for shape in ((6, 7), (1, 6, 7)))
    obs = normal(2, 6, 7)
    np.testing.assert_array_equal(flat(obs), deep(obs[:, None]))


@pytest.mark.parametrize("shape", [(5,), (6, 6), (4, 40, 40)])
def test_torch_divides_bytes_by_255(shape):
    of_bytes = torch_network(Observations(shape, "uint8", 255.0), seed=5)
    of_floats = torch_network(Observations(shape), seed=5)
    obs = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    found, expected = of_bytes(obs), of_floats((obs / 255).astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
