"""`emogene app`: the web page, in Gradio. What its buttons do is in render.py.

No request leaves the machine: analytics are off, fonts are the system's, and a content
security policy forbids browsers to ask anybody else.
"""

import contextlib
import tempfile
from pathlib import Path

import gradio as gr

from emogene_jax.app import pictures
from emogene_jax.app.people import People
from emogene_jax.app.render import LONGEST, make, speak
from emogene_jax.audio.load import load_audio
from emogene_jax.emotions import STRONGEST, parse_emotion
from emogene_jax.signals import EMOTIONS, SAMPLE_RATE, UserError

WAITING = 8  # renders that may wait; further ones are refused in words
FILES_LIVE = 3600  # s
ALONE = "alone"
ABOUT = (
    "What is made here is synthetic, and its files say so. Make avatars only of people "
    "who agreed to it."
)
# Gradio shows where the focus is on buttons alone, leaves pictures (which can be clicked)
# and groups without names and each radio button in a group of its own, and opens a list
# by the very Tab that leaves it.
FOCUS = ":focus-visible { outline: 3px solid #d97706 !important; outline-offset: -2px }"
NAMES = """() => {
  const name = () => document.querySelectorAll(".block").forEach(block => {
    const label = block.querySelector(":scope > [data-testid^=block-]")?.innerText.trim();
    if (!label) return;
    if (block.matches("fieldset")) block.ariaLabel = label;
    block.querySelectorAll("[type=radio]").forEach(radio => { radio.name = label; });
    block.querySelectorAll(".image-container > button").forEach(picture => {
      picture.ariaLabel = label;
    });
  });
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
  document.addEventListener("keydown", event => {
    if (event.key === "Tab" && event.target.role === "combobox") event.stopPropagation();
  }, true);
}"""


def build(people: People) -> gr.Blocks:
    """The page of some people."""
    with gr.Blocks(
        title="emogene", analytics_enabled=False, delete_cache=(600, FILES_LIVE)
    ) as page:
        gr.Markdown(f"# emogene\n{ABOUT}")
        with gr.Tab("Talk"):
            avatar = _talk_tab(people)
        with gr.Tab("Live"):
            gr.HTML(
                '<iframe src="/live" title="Live" allow="microphone; autoplay" '
                'style="width:100%;height:62rem;border:0"></iframe>'
            )
        if people.one is None:
            with gr.Tab("New avatar"):
                _make_tab(people, avatar)
    return page.queue(max_size=WAITING, default_concurrency_limit=1)


def _talk_tab(people: People):
    names = people.names()
    with gr.Row():
        with gr.Column(min_width=300):
            first = names[0] if names else None
            avatar = gr.Dropdown(names, value=first, label="Avatar", filterable=False)
            speech = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label="Speech",
                buttons=["download"],
            )
            emotion = gr.Radio(list(EMOTIONS), value="neutral", label="Emotion")
            strength = gr.Slider(0, STRONGEST, 1, step=0.05, label="Strength")
            with gr.Accordion("Mixture, track, background, seed", open=False):
                other, share, track, wave, at, begin, *rest = _fine_choices()
            with gr.Row():
                go = gr.Button("Generate", variant="primary")
                stop = gr.Button("Stop")
        with gr.Column(min_width=300):
            shown = _results()

    chosen = [emotion, strength, other, share]
    given = [avatar, speech, *chosen, track, *rest]

    def generate(*values):
        yield from _generated(people, *values)

    begun = go.click(generate, given, shown, api_name=False)
    stop.click(lambda: "stopped", None, shown[0], cancels=[begun], queue=False)
    drawn = [speech, track, *chosen]
    clicked = wave.select(_click, drawn, track, queue=False)
    begun = begin.click(_begin, [at, track, *chosen], track, queue=False)
    # Not while it is typed, when it is wrong most of the time.
    for changed in (speech.change, track.blur, track.submit):
        changed(_wave, drawn, wave, queue=False)
    for added in (clicked, begun):
        added.success(_wave, drawn, wave, queue=False)
    return avatar


def _fine_choices() -> tuple:
    other = gr.Dropdown(
        [ALONE, *EMOTIONS], value=ALONE, label="Mixed with", filterable=False
    )
    share = gr.Slider(0.05, 0.95, 0.5, step=0.05, label="Part of the other")
    track = gr.Textbox(
        value="",
        label="Emotion track",
        info="0s=neutral,3s=happy:0.8; empty: the emotion above. A click on the "
        "waveform, or the button under it, lets the emotion above begin there.",
    )
    wave = gr.Image(
        label="Waveform", interactive=False, height=pictures.HEIGHT + 20, buttons=[]
    )
    gr.HTML(pictures.legend())
    with gr.Row():
        at = gr.Number(0, minimum=0, step=0.1, label="Second", min_width=120)
        begin = gr.Button("Begin the emotion there", min_width=120)
    idle = gr.Slider(1, 60, 10, step=1, label="Seconds to be idle, without speech")
    background = gr.Image(type="filepath", label="Background")
    seed = gr.Number(0, precision=0, minimum=0, label="Seed")
    return other, share, track, wave, at, begin, idle, background, seed


def _results() -> list:
    """What `_generated` fills."""
    picture = {"interactive": False, "buttons": [], "format": "jpeg"}
    said = gr.Textbox(label="Progress", lines=2, interactive=False)
    with gr.Row():
        newest = gr.Image(
            label="Rendered now", min_width=140, elem_id="newest", **picture
        )
        points = gr.Image(label="Landmarks", min_width=140, **picture)
    video = gr.Video(label="Video", autoplay=True, elem_id="video")
    strip = gr.Image(label="Frames", height=120, **picture)
    return [said, newest, video, strip, points]


def _generated(people, name, speech, *values):
    *chosen, track, idle, background, seed = values
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        try:
            if not name:
                raise UserError("avatar: expected one to be chosen")
            wanted = parse_emotion((track or "").strip() or wording(*chosen))
            steps = speak(
                people,
                name,
                speech or float(idle),
                wanted,
                Path(folder) / f"{name}.mp4",
                int(seed or 0) % 2**32,
                background,
            )
            stack.callback(steps.close)  # before its folder goes
            yield "begun", None, None, None, None  # what was there is of another render
            kept = 0
            for step in steps:
                points = (
                    None if step.landmarks is None else pictures.face(step.landmarks)
                )
                more, kept = len(step.frames) > kept, len(step.frames)
                row = pictures.strip(step.frames) if more else gr.skip()
                film = str(step.video) if step.video else gr.skip()
                newest = gr.skip() if step.frame is None else step.frame
                yield step.said, newest, film, row, points
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None


def wording(emotion: str, strength: float, other: str, share: float) -> str:
    """A choice as it is written in a track."""
    if other != ALONE and other != emotion:
        emotion = f"{emotion}*{1 - share:.2f}+{other}*{share:.2f}"
    return f"{emotion}:{strength:g}"


def _wave(speech, track, *chosen):
    if not speech:
        return None
    try:
        wanted = parse_emotion((track or "").strip() or wording(*chosen))
        return pictures.waveform(
            load_audio(speech)[: int(LONGEST * SAMPLE_RATE)], wanted
        )
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _click(speech, track, emotion, strength, other, share, event: gr.SelectData):
    seconds = len(load_audio(speech)) / SAMPLE_RATE * event.index[0] / pictures.WIDTH
    return _begin(seconds, track, emotion, strength, other, share)


def _begin(seconds, track, *chosen) -> str:
    """A track in which what is chosen begins at a second."""
    seconds = seconds or 0
    step = f"{seconds:.1f}s={wording(*chosen)}"
    before = (track or "").strip() or "0s=neutral"
    try:
        known = parse_emotion(before)
        kept = [part for part in known if abs(part[0] - round(seconds, 1)) > 0.05]
        parts = [f"{start:g}s={what}:{amount:g}" for start, what, amount in kept]
        return ",".join(
            sorted([*parts, step], key=lambda part: float(part.split("s=")[0]))
        )
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _make_tab(people: People, avatar) -> None:
    gr.Markdown(
        "Two to five minutes of one person, alone, talking to a camera that stands still. "
        "It takes some minutes on a GPU and an hour on a processor."
    )
    with gr.Row():
        with gr.Column(min_width=300):
            video = gr.File(label="Video", file_types=["video"], type="filepath")
            name = gr.Textbox(label="Name", max_lines=1)
            size = gr.Dropdown(
                [64, 128, 256, 512], value=256, label="Size in pixels", filterable=False
            )
            with gr.Row():
                go = gr.Button("Make an avatar", variant="primary")
                stop = gr.Button("Stop")
        with gr.Column(min_width=300):
            said = gr.Textbox(label="Progress", lines=12, interactive=False)
            preview = gr.Image(
                label="Rendered above, filmed below",
                interactive=False,
                buttons=[],
                elem_id="preview",
            )
            scores = gr.JSON(label="Scores")

    def made(video, name, size):
        try:
            if not video:
                raise UserError("video: expected one")
            before = None
            for step in make(people, video, name, size):
                picture = str(step.preview) if step.preview else None
                same, before = step == before, step
                yield gr.skip() if same else (step.said, picture, step.scores)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def chosen(name):
        return gr.Dropdown(people.names(), value=name.strip())

    begun = go.click(made, [video, name, size], [said, preview, scores], api_name=False)
    begun.success(chosen, name, avatar, queue=False)
    stop.click(lambda: "stopped", None, said, cancels=[begun], queue=False)
