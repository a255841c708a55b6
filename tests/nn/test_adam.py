"""Adam against torch's, and what it does with long gradients, tiny numbers and files."""

import numpy as np
import pytest
import torch

from rlbook.nn.adam import Adam, adam_step
from rlbook.nn.torch_networks import TorchAdam, flatten

SIZE, EPSILON, NO_LIMIT = 300, 1e-8, 1e9


def gradients(steps, seed=0):
    """Of very different sizes, as layers have them."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-6, 2, SIZE)
    return (rng.normal(size=(steps, SIZE)) * sizes).astype(np.float32)


def numpy_optimiser(weights, epsilon):
    return Adam(weights, epsilon), weights


def torch_optimiser(weights, epsilon):
    """`TorchAdam` on the CPU, and its weights as an array."""
    layer = torch.nn.Linear(SIZE, 1, bias=False)
    flat = flatten(layer)
    flat.data.copy_(torch.from_numpy(weights))
    return TorchAdam(flat, epsilon), flat.detach().numpy()


BOTH = pytest.mark.parametrize("make", [numpy_optimiser, torch_optimiser], ids=["numpy", "torch"])


def start(seed=1):
    return np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)


@BOTH
@pytest.mark.parametrize("epsilon", [1e-8, 1.5e-4])
def test_two_hundred_steps_are_those_of_torch(make, epsilon):
    optimiser, weights = make(start(), epsilon)
    expected = torch.nn.Parameter(torch.from_numpy(start()).double())
    reference = torch.optim.Adam([expected], eps=epsilon)
    for t, gradient in enumerate(gradients(200)):
        rate = 0.01 * (1 - t / 400)
        optimiser.step(gradient, rate, NO_LIMIT)
        reference.param_groups[0]["lr"] = rate
        expected.grad = torch.from_numpy(gradient).double()
        reference.step()
    np.testing.assert_allclose(weights, expected.detach().numpy(), rtol=1e-4, atol=2e-5)
    assert np.abs(weights - start()).max() > 0.1


@BOTH
def test_a_long_gradient_is_shortened_and_a_short_one_left_alone(make):
    """Adam itself hardly sees how long gradients are, so this looks at what it remembers."""
    long = np.full(SIZE, 2.0, np.float32)  # its length is 2 sqrt(300), about 34.6
    for longest, scale in ((10.0, 10.0 / np.linalg.norm(long)), (40.0, 1.0)):
        optimiser, _ = make(start(), EPSILON)
        optimiser.step(long, 0.1, longest)
        arrays = optimiser.to_arrays()
        np.testing.assert_allclose(arrays["adam_first"], 0.1 * long * scale, rtol=1e-5)
        np.testing.assert_allclose(arrays["adam_second"], 0.001 * (long * scale) ** 2, rtol=1e-4)


@BOTH
def test_a_gradient_of_nothing_but_zeros_moves_nothing(make):
    optimiser, weights = make(start(), EPSILON)
    optimiser.step(np.zeros(SIZE, np.float32), 0.1, 10.0)
    np.testing.assert_array_equal(weights, start())


@BOTH
def test_the_gradient_is_not_changed(make):
    optimiser, _ = make(start(), EPSILON)
    [gradient] = gradients(1)
    optimiser.step(gradient, 0.1, 1e-3)
    np.testing.assert_array_equal(gradient, gradients(1)[0])


def test_no_number_is_left_so_near_to_0_that_processors_slow_down():
    """Of weights that no input moves any more, both moments fade, each at its own pace."""
    optimiser = Adam(start(), EPSILON)
    optimiser.step(gradients(1)[0], 0.01, NO_LIMIT)
    nothing, smallest = np.zeros(SIZE, np.float32), np.finfo(np.float32).smallest_normal
    seen = []
    for t in range(2_000):
        optimiser.step(nothing, 0.01, NO_LIMIT)
        for moment in (optimiser.first, optimiser.second):
            size = np.abs(moment)
            assert not ((size > 0) & (size < smallest)).any(), t
        seen.append(np.count_nonzero(optimiser.first))
    assert seen[0] == SIZE and seen[-1] == 0
    assert np.isfinite(optimiser.weights).all()


def test_the_compiled_step_is_the_python_one():
    weights, other = start(), start()
    optimiser, moments = Adam(weights, EPSILON), [np.zeros(SIZE, np.float32) for _ in range(2)]
    for t, gradient in enumerate(gradients(3), start=1):
        optimiser.step(gradient, 0.01, NO_LIMIT)
        rate, root = 0.01 / (1 - 0.9**t), 1 / np.sqrt(1 - 0.999**t)
        one = np.float32(1.0)
        adam_step(
            other, gradient, *moments, one, np.float32(rate), np.float32(root), np.float32(EPSILON)
        )
    np.testing.assert_allclose(weights, other, rtol=1e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize("steps", [0, 5])
def test_a_copy_from_arrays_goes_on_bit_for_bit(make, steps):
    first, weights = make(start(), EPSILON)
    for gradient in gradients(steps):
        first.step(gradient, 0.01, 1.0)
    arrays = {name: array.copy() for name, array in first.to_arrays().items()}
    again, copied = make(weights.copy(), EPSILON)
    again.load_arrays(arrays)
    for gradient in gradients(5, seed=7):
        first.step(gradient, 0.01, 1.0)
        again.step(gradient, 0.01, 1.0)
    np.testing.assert_array_equal(weights, copied)
    for name, array in first.to_arrays().items():
        np.testing.assert_array_equal(array, again.to_arrays()[name])
    assert int(again.to_arrays()["adam_steps"]) == steps + 5


@pytest.mark.parametrize("steps", [0, 5])
def test_what_one_kind_remembers_the_other_can_take_up(steps):
    """An agent that was saved where there was a GPU goes on where there is none."""
    on_gpu, weights = torch_optimiser(start(), EPSILON)
    for gradient in gradients(steps):
        on_gpu.step(gradient, 0.01, 1.0)
    on_cpu, others = numpy_optimiser(weights.copy(), EPSILON)
    on_cpu.load_arrays(on_gpu.to_arrays())
    for gradient in gradients(20, seed=7):
        on_gpu.step(gradient, 0.01, 1.0)
        on_cpu.step(gradient, 0.01, 1.0)
    np.testing.assert_allclose(weights, others, rtol=1e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize("name", ["adam_first", "adam_second"])
@pytest.mark.parametrize("size", [1, SIZE - 1, SIZE + 1])
def test_arrays_of_another_size_are_refused(make, name, size):
    """One number would otherwise become all."""
    optimiser, _ = make(start(), EPSILON)
    arrays = {**optimiser.to_arrays(), name: np.ones(size, np.float32)}
    with pytest.raises(ValueError, match=rf"^{name} must have shape \({SIZE},\), got \({size},\)$"):
        optimiser.load_arrays(arrays)
    assert not any(array.any() for array in optimiser.to_arrays().values())
