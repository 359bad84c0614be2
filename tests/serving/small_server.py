"""A server process for tests: `python -m tests.serving.small_server HOST PORT [--insecure]`."""

import asyncio
import gc
import signal
import sys

from m3.errors import InvalidCheckpoint, M3Error
from m3.settings import load_settings
from serving.application import create_app, lifecycle_of
from serving.logs import configure
from serving.server import serve


def main() -> int:
    settings = load_settings()
    configure(settings)
    app = create_app(title="small", description="", settings=settings)

    @app.get("/slow")
    async def slow() -> str:
        """Is under way, which is printed, until SIGUSR1."""
        done = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, done.set)
        print("under way", flush=True)
        await done.wait()
        return "done"

    @app.get("/walked")
    async def walked() -> int:
        """Objects that a full collection looks at."""
        return len(gc.get_objects())

    @app.post("/fail")
    async def fail() -> str:
        lifecycle_of(app).fail(InvalidCheckpoint("the model is gone"))
        return "failing"

    try:
        serve(
            app,
            host=sys.argv[1],
            port=int(sys.argv[2]),
            settings=settings,
            insecure="--insecure" in sys.argv,
            on_ready=lambda url: print(url, flush=True),
        )
    except M3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
