"""How many frames a second does the morphable-model fit take, at the BFM's size?

68 points, 80 identity and 64 expression coefficients, identity and frames together. The
model is made up: what a frame costs does not depend on what the bases hold.
"""

import numpy as np
import timing

from emogene_jax.face.morphable import (
    MorphableModel,
    fit_morphable,
    morphable_landmarks,
)
from emogene_jax.rigid import project
from emogene_jax.synthetic.motion import head_motion, identity
from emogene_jax.synthetic.video import camera


def main(tiny=False):
    """One line a length of clip."""
    rng = np.random.default_rng(0)
    mean = identity(0) - identity(0).mean(0)
    shared, moving = rng.normal(0, 0.05, (68, 3, 80)), rng.normal(0, 0.05, (68, 3, 64))
    model = MorphableModel(mean, shared, moving)
    for frames in (10,) if tiny else (500, 5000):  # 20 s and 200 s
        expressions = rng.normal(size=(frames, 64))
        landmarks = morphable_landmarks(model, rng.normal(size=80), expressions)
        view = camera(512)
        points = project(landmarks, *head_motion(frames, rng), view)
        points += rng.normal(0, 0.35, points.shape)  # px
        result = timing.measure(
            lambda points=points, view=view: fit_morphable(model, points, view),
            2 if tiny else 10,
            1,
        )
        fit = fit_morphable(model, points, view)
        timing.emit(
            "morphable_fit",
            result,
            frames=frames,
            identity=80,
            expression=64,
            fps=round(1e3 * frames / result["median_ms"], 1),
            error_px=round(float(fit.error.mean()), 3),
        )


if __name__ == "__main__":
    main()
