"""Videos say that they are synthetic, and sign it where they can."""

import datetime
import json

import numpy as np
import pytest

from emogene_jax import cli
from emogene_jax.media import provenance as own
from emogene_jax.media.live import LiveVideo
from emogene_jax.media.video import write_lossless, write_video
from emogene_jax.signals import UserError


def frames(count=5):
    return iter(np.zeros((count, 32, 32, 3), np.uint8))


@pytest.fixture(autouse=True)
def unsigned(monkeypatch):
    for name in (own.CERTIFICATE, own.KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "live.mp4"])
def test_every_container_says_that_it_is_synthetic(name, tmp_path, capsys):
    path = tmp_path / name
    if name == "live.mp4":
        with path.open("wb") as target:
            video = LiveVideo(target, 32, 16_000)
            for number in range(5):
                video.write(number, next(frames()), np.zeros(640, np.float32))
            video.close()
    else:
        (write_lossless if name == "a.mkv" else write_video)(path, frames())
    assert cli.main(["evaluate", "--provenance", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["synthetic"] and "not a recording" in told["tags"]["comment"]
    assert told["credentials"] is None or "not installed" in told["credentials"]


def test_another_video_is_not_said_to_be_synthetic(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        image = av.VideoFrame.from_ndarray(next(frames()), format="rgb24")
        container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    told = own.provenance(tmp_path / "a.mp4")
    assert not told["synthetic"] and not told["tags"]


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    """A certificate of an authority of our own, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("c2pa")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "A test"),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
            ]
        )
        for name in ("authority", "signer")
    ]
    now = datetime.datetime.now(datetime.UTC)
    authority = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority)

    def certificate(number):
        key, is_authority = keys[number].public_key(), number == 0
        use = dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        )
        use |= {"key_cert_sign": is_authority, "crl_sign": is_authority}
        made = (
            x509.CertificateBuilder()
            .subject_name(names[number])
            .issuer_name(names[0])
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(is_authority, None), True)
            .add_extension(x509.KeyUsage(digital_signature=True, **use), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(issuer, False)
        )
        if not is_authority:
            purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            made = made.add_extension(purpose, False)
        made = made.sign(keys[0], hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    (folder / "chain.pem").write_bytes(certificate(1) + certificate(0))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(private)
    return folder


def test_a_video_is_signed_where_a_certificate_is_configured(
    credentials, tmp_path, monkeypatch
):
    pytest.importorskip("c2pa")
    monkeypatch.setenv(own.CERTIFICATE, str(credentials / "chain.pem"))
    monkeypatch.setenv(own.KEY, str(credentials / "key.pem"))
    path = tmp_path / "a.mp4"
    write_video(path, frames())
    told = own.provenance(path)
    assert told["synthetic"] and told["credentials"]["synthetic"]
    assert told["credentials"]["validation"] in ("Valid", "Trusted")
    assert told["credentials"]["signed_by"] == "A test"
    assert [found.name for found in tmp_path.iterdir()] == ["a.mp4"]
    data = bytearray(path.read_bytes())  # a changed picture is noticed
    data[-20] ^= 255
    path.write_bytes(bytes(data))
    assert own.provenance(path)["credentials"]["validation"] == "Invalid"


def test_a_certificate_that_is_none_is_told_and_leaves_nothing(
    credentials, tmp_path, monkeypatch
):
    pytest.importorskip("c2pa")
    (tmp_path / "bad.pem").write_text("no certificate")
    monkeypatch.setenv(own.CERTIFICATE, str(tmp_path / "bad.pem"))
    monkeypatch.setenv(own.KEY, str(credentials / "key.pem"))
    with pytest.raises(UserError, match="not accepted"):
        write_video(tmp_path / "a.mp4", frames())
    assert [found.name for found in tmp_path.iterdir()] == ["bad.pem"]


def test_half_a_configuration_is_told_before_anything_is_rendered(
    monkeypatch, tmp_path
):
    monkeypatch.setenv(own.KEY, "key.pem")
    with pytest.raises(UserError, match="expected .* both"):
        write_video(tmp_path / "a.mp4", frames())
    monkeypatch.setenv(own.CERTIFICATE, "none.pem")
    with pytest.raises(UserError, match=r"none\.pem: no such file"):
        own.can_sign()
