import numpy as np
import pytest

from models.expression.calibration.temperature import softmax

pytest.importorskip("keras", reason="needs the train extra")
pytestmark = pytest.mark.filterwarnings("default")


def test_label_scaling_undoes_a_known_one() -> None:
    from models.expression.calibration.label_scaling import fit_label_scaling

    rng = np.random.default_rng(4)
    wanted = rng.normal(0, 2, (100_000, 6))
    labels = (wanted + rng.gumbel(size=wanted.shape)).argmax(axis=1)
    scales, offsets = np.array([1.2, 1.0, 0.8, 1.0, 0.9, 1.1]), np.array([0.3, 0.0, -0.2, 0.0, 0.0, -0.1])
    found = fit_label_scaling((wanted - offsets) / scales, labels, np.ones(len(labels)), penalty=1e-9)
    np.testing.assert_allclose(found.scales, scales / scales.mean(), atol=0.05)
    # Offsets are known but for a constant, which changes no probability.
    apart = (found.offsets - found.offsets.mean()) - (offsets - offsets.mean()) / scales.mean()
    np.testing.assert_allclose(apart, 0, atol=0.06)


def test_label_scaling_finds_the_penalised_optimum_of_a_general_minimiser() -> None:
    from scipy.optimize import minimize

    from models.expression.calibration.label_scaling import fit_label_scaling

    rng = np.random.default_rng(5)
    logits, labels = rng.normal(0, 2, (400, 6)), rng.integers(0, 6, 400)
    labels[:250] = logits[:250].argmax(axis=1)
    weights = rng.uniform(0.5, 2, 400)

    def loss(theta: np.ndarray) -> float:
        picked = softmax(logits * theta[:6] + theta[6:])[np.arange(400), labels]
        distance = ((theta[:6] - theta[:6].mean()) ** 2).sum() + (theta[6:] ** 2).sum()
        return float(-(weights / weights.sum()) @ np.log(picked) + 0.05 * distance)

    best = minimize(loss, np.concatenate([np.ones(6), np.zeros(6)]), method="BFGS", options={"gtol": 1e-8}).x
    found = fit_label_scaling(logits, labels, weights, penalty=0.05)
    np.testing.assert_allclose(found.scales, best[:6] / best[:6].mean(), atol=1e-4)
    np.testing.assert_allclose(found.offsets, best[6:] / best[:6].mean(), atol=1e-4)
