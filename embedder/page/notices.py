"""Plain pages for when Gradio's is not there: not installed, not yet loaded, not loadable."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

_SECONDS = 1
"""Between two looks of a browser that waits."""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
{head}<title>m3-embedder</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto }}
</style>
</head>
<body>
<h1>m3-embedder</h1>
<p role="status">{message}</p>
<p><a href="/docs">API</a> · <a href="/readyz">readiness</a> · <a href="/metrics">metrics</a></p>
</body>
</html>
"""


def notice(message: str, *, again: bool = False) -> HTMLResponse:
    """One sentence and where else to go. `again`: the browser looks again by itself."""
    head = f'<meta http-equiv="refresh" content="{_SECONDS}">\n' if again else ""
    page = _PAGE.format(head=head, message=escape(message))
    return HTMLResponse(page, headers={"Cache-Control": "no-store"})
