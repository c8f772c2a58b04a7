"""What README.md tells to type is understood (test_demo.py runs it)."""

import re
import shlex
from pathlib import Path

import pytest

from emogene_jax import cli
from emogene_jax.emotions import parse_emotion

README = Path(__file__).resolve().parent.parent / "README.md"


def commands():
    """The `emogene …` lines of the code blocks, continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in found if words and words[0] == "emogene"]


def test_there_are_commands_to_check():
    verbs = {words[0] for words in commands()}
    assert verbs >= {"doctor", "create", "talk", "prepare", "train", "evaluate"}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_readme_is_understood(words):
    args, rest = cli._parser().parse_known_args(words)
    assert callable(args.handler)
    if args.handler is cli._train:
        assert cli.read_config(args.config, rest) is not None
    else:
        assert not rest
    if getattr(args, "emotion", None):
        assert parse_emotion(args.emotion)


def test_doctor_has_an_opinion(capsys):
    assert cli.main(["doctor"]) == 0
    assert "jax" in capsys.readouterr().out


def test_the_tests_that_are_listed_are_there():
    here = Path(__file__).parent
    listed = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (here / "README.md").read_text())
    assert len(listed) > 30
    for file, test in listed:
        assert f"def {test}(" in (here / file).read_text() or not test, (file, test)
