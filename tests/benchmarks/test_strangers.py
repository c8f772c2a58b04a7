"""The benchmark of strangers' voices answers, and knows who follows whom."""

import json
import sys
from pathlib import Path

import numpy as np

from emogene_jax.audio_to_motion.generic import built_in

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import strangers  # noqa: E402


def talker(seed, late=0, far=1.0):
    """Someone whose mouth is a sum of what is heard, some frames late."""
    rng = np.random.default_rng(seed)
    content = rng.normal(size=(400, 6)).astype(np.float32)
    motion = np.zeros((200, 68, 3), np.float32)
    motion[:, 62, 1] = far * np.roll(content[::2, :2].sum(1), late)
    motion[:, 54, 0] = far * np.roll(content[::2, 2:4].sum(1), late)
    return strangers.Person(
        str(seed), False, [content], [np.zeros(400)], [motion.reshape(200, -1)]
    )


def test_ridge_follows_a_stranger_and_the_score_says_how():
    people = [talker(seed, far=seed + 1) for seed in range(4)]
    follow = strangers.ridge(people, 1, 1.0)
    made, owner = follow(talker(9)), talker(9, far=4.0)
    opening, width, lag, *far = strangers.score(made, talker(9), owner)
    assert min(opening, width) > 0.99 and lag == 0
    # Beside an avatar's person who moves four times as far.
    np.testing.assert_allclose(far[2:], np.array(far[:2]) / 4, rtol=1e-5)
    # Lips that were heard two frames ago are two frames late.
    late = strangers.score(made, talker(9, late=-2), owner)
    assert late[2] == 2 and abs(late[0]) < 0.3
    twice = strangers.score(made, talker(9, far=2.0), owner)
    np.testing.assert_allclose(twice[3:5], np.array(far[:2]) / 2, rtol=1e-5)


def test_a_summary_is_of_people():
    told = strangers.summary(
        [np.array([0.4, 0.6, 0, 1, 1, 1, 1]), np.array([0.6, 0.8, 2, 1, 1, 1, 1])]
    )
    assert told["opening"] == 0.5 and told["lag"] == 1 and told["people"] == 2
    assert told["width_interval"] == [0.6, 0.8]


def test_tiny_answers_for_every_method(monkeypatch, capsys):
    """With a voice that has been trained, in place of those that would be."""
    asked = []

    def train(people, starts, config, generic, work, tiny):
        asked.append((len(people), generic is not None))
        assert len(starts) and starts.max() < sum(
            len(m) for p in people for m in p.motion
        )
        return built_in()

    monkeypatch.setattr(strangers, "train", train)
    argv = ["strangers.py", "--tiny", "--content", "speech_embedding"]
    monkeypatch.setattr(sys, "argv", argv)
    strangers.main()
    lines = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    rows = {row["method"]: row for row in map(json.loads, lines)}
    methods = {"ridge", "nothing", "generic", "adapted", "built_in", "ours"}
    assert set(rows) == methods
    for row in rows.values():
        assert row["benchmark"] == "strangers" and -1 <= row["all"]["opening"] <= 1
        assert ("own_width" in row["all"]) == (
            row["method"] in ("nothing", "adapted", "ours")
        )
    assert rows["generic"]["all"]["people"] == 3
    assert rows["ours"]["all"]["people"] == 2  # not the avatar itself
    assert rows["built_in"]["all"]["opening"] > 0.2
    # Nothing, ours; of each group the generic one, and that adapted.
    assert asked == [
        (1, False),
        (1, True),
        (1, False),
        (1, True),
        (2, False),
        (1, True),
    ]
