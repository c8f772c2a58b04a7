"""Do the lips of a video say its sound? Asked of the built-in lip-sync expert.

It was trained on landmarks of real people's speech (docs/generic_voice.md), not on their
pictures: what it says is not SyncNet's LSE-C and LSE-D, and not to be compared with them.
"""

from emogene_jax.audio.features import audio_features, fitted
from emogene_jax.audio.load import load_audio
from emogene_jax.audio_to_motion.generic import built_in_expert, sync_of
from emogene_jax.corpora.watch import watch
from emogene_jax.face.fit import rest_landmarks
from emogene_jax.signals import UserError, landmarks_to_motion


def lip_sync(video, face_model=None) -> dict:
    """{"confidence": how far it is above that of other offsets, in [0, 1], "offset": by
    how many frames the sound is late} of a video file.

    Raises:
      UserError: it has no sound, hardly a face, or is too short.
    """
    sound = load_audio(video)
    seen = watch(video, face_model)
    waveform = fitted(sound, len(seen.landmarks))
    if not waveform.any():
        raise UserError(f"{video}: its sound is silent")
    expert = built_in_expert()
    heard = audio_features(waveform, expert.content)
    rest = rest_landmarks(seen.landmarks, seen.found)
    motion = landmarks_to_motion(seen.landmarks, rest).reshape(len(seen.landmarks), -1)
    found = sync_of(expert, heard.content, motion)
    if found is None:
        raise UserError(f"{video}: too short to tell how late its sound is")
    return {"confidence": round(found.confidence, 3), "offset": found.offset}
