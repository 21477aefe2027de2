import numpy as np
import pytest

from model.artifact.manifest import Feature
from scripts.load.pool import ClassificationPool, RegressionPool


@pytest.fixture(scope="session")
def pool() -> ClassificationPool:
    """300 rows of two related numbers, a category and a boolean; the class follows from the first number."""
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, 300)
    income = age * 100 + rng.normal(0, 500, 300)
    colour = rng.choice(["red", "green", "blue"], 300)
    member = rng.random(300) < 0.5
    rows = tuple(
        {
            "age": float(age[i]),
            "income": None if i % 50 == 0 else float(income[i]),
            "colour": str(colour[i]),
            "member": bool(member[i]),
        }
        for i in range(300)
    )
    features = (
        Feature(name="age", type="number", minimum=10, maximum=70, nullable=False, example=40.0),
        Feature(name="income", type="number", minimum=900, maximum=7500, nullable=True, example=4000.0),
        Feature(name="colour", type="category", categories=("blue", "green", "red"), nullable=True, example="red"),
        Feature(name="member", type="boolean", nullable=False, example=True),
    )
    return ClassificationPool(features, rows, ("low", "middle", "high"), np.digitize(age, [36, 44]))


@pytest.fixture(scope="session")
def categories_only(pool: ClassificationPool) -> ClassificationPool:
    rows = tuple({"colour": row["colour"], "member": row["member"]} for row in pool.rows)
    return ClassificationPool(pool.features[2:], rows, pool.classes, pool.class_indexes)


@pytest.fixture(scope="session")
def regression_pool(pool: ClassificationPool) -> RegressionPool:
    """The same rows; a price follows from the first number."""
    ages = np.array([row["age"] for row in pool.rows])
    return RegressionPool(pool.features, pool.rows, 1000 - 10 * ages + np.random.default_rng(1).normal(0, 20, 300))


@pytest.fixture(scope="session", params=["classes", "numbers"])
def either_pool(
    request: pytest.FixtureRequest, pool: ClassificationPool, regression_pool: RegressionPool
) -> ClassificationPool | RegressionPool:
    """A pool of each kind."""
    return pool if request.param == "classes" else regression_pool
