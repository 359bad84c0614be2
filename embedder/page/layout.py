"""The page as Gradio lays it out: tabs, fields, buttons. The only importer of Gradio."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

from fastapi import FastAPI

from embedder.page import drawing, examples
from embedder.page.desk import Desk
from embedder.page.drawn import Drawn
from m3.types import ModelInfo
from scoring.fusion import PRESETS

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it when it is imported.

import gradio as gr
from gradio.themes import Default

_FONTS = ("system-ui", "sans-serif")
_MONOSPACE = ("ui-monospace", "monospace")
_STYLE = Path(__file__).with_name("style.css")
_PRESET = "mkqa"
_OWN = "own"
Listener: TypeAlias = Callable[..., Any]
"""How Gradio's components take what happens on an event."""
_SENT: dict[type, tuple[type, ...]] = {
    gr.Textbox: (str,),
    gr.Dropdown: (str, NoneType),
    gr.Slider: (int, float, NoneType),
    gr.JSON: (object,),
}
"""What a browser sends of a component; None for one that was emptied."""


def draw(desk: Desk, model: ModelInfo, *, with_key: bool) -> Drawn:
    """The page for this model. `with_key`: people type a key into it."""
    with gr.Blocks(title="m3-embedder", analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>m3-embedder</h1>{drawing.banner(model)}", elem_id="m3-head")
        key = gr.Textbox(
            "",
            label="API key",
            type="password",
            visible=with_key,
            elem_id="m3-key",
            max_lines=1,
        )
        with gr.Tabs():
            with gr.Tab("Similarity"):
                _similarity(desk, key)
            with gr.Tab("Term weights"):
                _term_weights(desk, key)
            with gr.Tab("ColBERT alignment"):
                _alignment(desk, key)
            with gr.Tab("Node") as tab:
                _status(desk, key, tab.select)
    return _served(blocks)


def _similarity(desk: Desk, key: gr.Textbox) -> None:
    with gr.Row():
        with gr.Column(scale=3):
            query = gr.Textbox(label="Query")
            passages = gr.Textbox(label="Passages, one a line", lines=7, max_lines=12)
        with gr.Column(scale=2):
            preset = gr.Dropdown([*PRESETS, _OWN], value=_PRESET, label="Weights")
            sliders = [
                gr.Slider(0, 1, value=weight, step=0.05, label=name)
                for name, weight in zip(
                    ("dense", "sparse", "ColBERT"), PRESETS[_PRESET].as_tuple(), strict=True
                )
            ]
    # The browser keeps the scores: other weights are a matter of the table alone.
    scored = gr.JSON(visible=False)

    def run(listener: Listener) -> None:
        done = _on(listener, desk.compare, [key, query, passages], [told, scored])
        _on(done.then, desk.rank, [key, scored, *sliders], [table])

    starts = _buttons("Compare", examples.COMPARISONS, [query, passages])
    told = gr.HTML(elem_classes="m3-told")
    table = gr.HTML()
    for listener in (*starts, query.submit):
        run(listener)
    # `input` is by hand, so that a preset does not take itself for weights of one's own.
    _on(preset.input, _preset, [preset, *sliders], sliders)
    for slider in sliders:
        _on(slider.input, _constant(_OWN), [], [preset])
        _on(slider.change, desk.rank, [key, scored, *sliders], [table])


def _preset(name: str, *current: float) -> list[float]:
    return list(PRESETS[name].as_tuple()) if name in PRESETS else list(current)


def _term_weights(desk: Desk, key: gr.Textbox) -> None:
    text = gr.Textbox(label="Text", lines=4, max_lines=12)
    starts = _buttons("Weigh terms", examples.TEXTS, [text])
    drawn = gr.HTML()
    for listener in starts:
        _on(listener, desk.weigh, [key, text], [drawn])


def _alignment(desk: Desk, key: gr.Textbox) -> None:
    query = gr.Textbox(label="Query")
    passage = gr.Textbox(label="Passage", lines=2, max_lines=8)
    starts = _buttons("Align", examples.PAIRS, [query, passage])
    drawn = gr.HTML()
    for listener in (*starts, query.submit):
        _on(listener, desk.align, [key, query, passage], [drawn])


def _status(desk: Desk, key: gr.Textbox, select: Listener) -> None:
    drawn = gr.HTML()
    refresh = gr.Button("Refresh", scale=0)
    for listener in (select, refresh.click):
        _on(listener, desk.status, [key], [drawn])


def _buttons(
    name: str, shown: Mapping[str, Sequence[str]], fields: Sequence[gr.Textbox]
) -> list[Listener]:
    """A button that starts the work, and one an example, which fills the fields and starts it."""
    for field, value in zip(fields, next(iter(shown.values())), strict=True):
        field.value = value
    with gr.Row(elem_classes="m3-buttons"):
        starts: list[Listener] = [gr.Button(name, variant="primary", scale=0).click]
        for label, values in shown.items():
            filled = values[0] if len(values) == 1 else values
            button = gr.Button(f"Example: {label}", scale=0)
            starts.append(_on(button.click, _constant(filled), [], fields).then)
    return starts


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _on(
    listener: Listener, work: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> Any:
    """Without Gradio's queue, whose streams would stay open: the node's own queue is the limit.

    Without its checks of values, too, which end as an "Error" that does not say which.

    Who presses a button again while the first answer is awaited is answered as it is by then.
    """
    return listener(
        work,
        list(inputs),
        list(outputs),
        queue=False,
        preprocess=False,
        api_visibility="private",
        show_progress="minimal",
        trigger_mode="always_last",
    )


def _served(blocks: gr.Blocks) -> Drawn:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gr.mount_gradio_app(  # pyright: ignore[reportUnknownMemberType]
        app,
        blocks,
        path="/",
        theme=Default(font=_FONTS, font_mono=_MONOSPACE),
        css_paths=_STYLE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        show_error=False,
        max_file_size=0,
    )
    inputs = {
        number: [_SENT[type(component)] for component in fn.inputs]
        for number, fn in blocks.fns.items()
    }
    return Drawn(app, inputs)
