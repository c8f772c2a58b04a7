"""The voice of an avatar is what avatar.json says it is, or is refused."""

import pytest

from emogene_jax.avatar.voice import check_voice
from emogene_jax.signals import UserError


@pytest.mark.parametrize(
    "change",
    [
        {"audio_to_motion": {"hidden": "8"}},
        {"audio_to_motion": {"width": 5, "no_such": 1}},
        {"audio_to_motion": 3},
        {"content": 3},
        {"content": {"type": "log_mel"}},
        {"content": {"type": "log_mel", "channels": "80"}},
        {"content": {"type": "log_mel", "channels": 40}},
        {"content": {"type": "vowels", "channels": 80}},
    ],
)
def test_an_avatar_that_describes_itself_wrongly_is_told(person, change):
    check_voice(person)
    with pytest.raises(UserError, match="damaged avatar"):
        check_voice(person._replace(info=person.info | change))


def test_a_voice_that_is_not_the_one_described_is_told(person):
    sizes = person.info["audio_to_motion"] | {"hidden": 9}
    with pytest.raises(UserError, match=r"params.*expected \[.*9"):
        check_voice(person._replace(info=person.info | {"audio_to_motion": sizes}))
    trained = {**person.audio_to_motion, "params": {}}
    with pytest.raises(UserError, match="is absent"):
        check_voice(person._replace(audio_to_motion=trained))
