"""Where a video comes from, told by the video itself: metadata tags in every container,
and signed content credentials (C2PA) in mp4 files, where they can be signed.

    EMOGENE_C2PA_CERTIFICATE  PEM, the certificate and those that it rests on
    EMOGENE_C2PA_KEY          PEM, its private key (ECDSA, P-256)

A stream has no end that could be signed: live video carries the tags alone.
"""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import av

from emogene_jax import __version__
from emogene_jax.media import files as media
from emogene_jax.signals import UserError

SYNTHETIC_TAGS = {
    "ai_generated": "true",
    "comment": "Synthetic video made with emogene_jax; not a recording of a person.",
}
CERTIFICATE, KEY = "EMOGENE_C2PA_CERTIFICATE", "EMOGENE_C2PA_KEY"
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def can_sign() -> bool:
    """Whether videos are signed: a certificate is configured.

    Raises:
        UserError: it is, and can't be used.
    """
    given = [name for name in (CERTIFICATE, KEY) if os.environ.get(name)]
    if not given:
        return False
    if len(given) == 1:
        raise UserError(f"${given[0]}: expected ${CERTIFICATE} and ${KEY}, both")
    for name in given:
        if not Path(os.environ[name]).is_file():
            raise UserError(f"${name}: {os.environ[name]}: no such file")
    if find_spec("c2pa") is None:
        raise UserError(
            f'${CERTIFICATE} is set, c2pa-python is not installed: pip install "emogene_'
            'jax[c2pa]"'
        )
    return True


def sign(path: Path) -> None:
    """Puts signed credentials into an mp4 that is whole, in its place.

    Raises:
        UserError: the certificate or the key are not accepted.
    """
    import c2pa

    path = Path(path)
    signed = path.with_name(f"{path.stem}.signed{path.suffix}")
    certificate, key = (
        Path(os.environ[name]).read_bytes() for name in (CERTIFICATE, KEY)
    )
    action = {"action": "c2pa.created", "digitalSourceType": _SOURCE}
    manifest = {
        "claim_generator_info": [{"name": "emogene_jax", "version": __version__}],
        "format": "video/mp4",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    try:
        told = c2pa.C2paSignerInfo(b"es256", certificate, key, None)
        with c2pa.Signer.from_info(told) as signer, c2pa.Builder(manifest) as builder:
            builder.sign_file(path, signed, signer)
        os.replace(signed, path)
    except c2pa.C2paError as error:
        raise UserError(f"${CERTIFICATE}: not accepted ({error})") from None
    finally:
        signed.unlink(missing_ok=True)


def provenance(path) -> dict:
    """What a video says of where it comes from: {"synthetic": by its tags, "tags",
    "credentials": None, or what was signed and whether the signature holds}; "credentials"
    is a line of text where c2pa-python is not installed.

    Raises:
        UserError: it is no media file.
    """
    media.must_be_there(path, "a video")
    try:
        with media.open_media(path) as container:
            # Matroska writes names in capitals.
            tags = {name.lower(): text for name, text in container.metadata.items()}
    except (av.error.FFmpegError, UnicodeDecodeError):
        raise UserError(f"{path}: not a readable video") from None
    kept = {name: tags[name] for name in SYNTHETIC_TAGS if name in tags}
    return {
        "synthetic": tags.get("ai_generated") == "true",
        "tags": kept,
        "credentials": _credentials(path),
    }


def _credentials(path) -> dict | str | None:
    if find_spec("c2pa") is None:
        return "not looked for: c2pa-python is not installed"
    import c2pa

    try:
        with c2pa.Reader(str(path)) as reader:
            store, state = json.loads(reader.json()), reader.get_validation_state()
    except c2pa.C2paError:
        return None  # none there, or a format that has none
    claim = store["manifests"][store["active_manifest"]]
    sources = {
        action.get("digitalSourceType")
        for assertion in claim.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    }
    return {
        "validation": state,
        "synthetic": _SOURCE in sources,
        "signed_by": claim.get("signature_info", {}).get("issuer"),
    }
