"""Names come from browsers: there is nothing to be had but the avatars of one folder."""

import threading

import pytest

from emogene_jax.app import people as people_module
from emogene_jax.app.people import People
from emogene_jax.app.seats import Seats
from emogene_jax.avatar.file import save_avatar
from emogene_jax.signals import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("people/ann", "people/bob", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "avatar.json").write_text("{}")
    (tmp_path / "people" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "people" / "empty").mkdir()
    return tmp_path / "people"


def test_links_out_of_the_folder_are_no_avatars(folder):
    assert People(folder).names() == ["ann", "bob"]
    assert People(folder / "ann").names() == ["ann"]


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "link",
        "empty",
        "/etc",
        "..",
        ".",
        "",
        "ann/../../secret",
        "ann/",
        "\0",
    ],
)
def test_there_is_nothing_beside_the_folder(folder, name):
    with pytest.raises(UserError, match="no avatar of this name; there are: ann, bob"):
        People(folder).person(name)


@pytest.mark.parametrize(
    "name",
    ["../x", "/tmp/x", "", " ", ".hidden", "a" * 41, "a/b", "ann", "a\nb", "-rf"],
)
def test_new_avatars_have_plain_names_of_their_own(folder, name):
    with pytest.raises(UserError):
        People(folder).new(name)
    with pytest.raises(UserError, match="shows one avatar"):
        People(folder / "ann").new("carl")
    assert People(folder).new(" carl 2 ") == folder / "carl 2"


def test_a_damaged_avatar_is_told(folder):
    with pytest.raises(UserError, match="avatar.json"):
        People(folder).person("ann")


def test_few_are_kept_open(person, tmp_path, monkeypatch):
    monkeypatch.setattr(people_module, "warm_renderer", lambda avatar: object())
    for name in ("a", "b", "c"):
        save_avatar(person, tmp_path / name)
    people = People(tmp_path)
    first = people.person("a")
    assert people.person("a") is first
    for name in ("b", "c"):
        people.person(name)
    assert list(people._open) == ["b", "c"]


def test_no_folder_is_no_place_for_people(tmp_path):
    with pytest.raises(UserError, match="expected an avatar or a folder"):
        People(tmp_path / "none")


def test_one_has_the_seat_and_others_know_their_place():
    seats = Seats(most=2)
    first, second, third = seats.wait(), seats.wait(), seats.wait()
    assert [next(turn) for turn in (first, second, third)] == [0, 1, 2]
    with pytest.raises(UserError, match="busy: 2 wait already"):
        next(seats.wait())
    second.close()  # who leaves makes room
    assert next(third) == 1
    threading.Timer(0.05, first.close).start()
    while next(third):
        pass
    third.close()
    assert next(seats.wait()) == 0
