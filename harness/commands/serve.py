"""``gfbench serve``: show a site to the browser on this machine alone."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.options import note
from harness.errors import UsageError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Serves files; nothing is cached, so that a rebuilt site shows at once."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def send_head(self) -> Any:
        if not self._allowed():
            self.send_error(404)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the user's."""

    def list_directory(self, path: Any) -> Any:
        """Show no folders, only pages."""
        self.send_error(404)

    def _allowed(self) -> bool:
        """Refuse names of other sites (DNS rebinding), hidden files, and links that lead out."""
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        asked = Path(self.translate_path(self.path))
        root = Path(self.directory).resolve()
        inside = asked.resolve().is_relative_to(root)
        hidden = any(
            part.startswith(".") for part in asked.parts[len(Path(self.directory).parts) :]
        )
        return host in (HOST, "localhost") and inside and not hidden


def server(site: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the site on the loopback interface, not yet serving.

    Raises:
        UsageError: no site there, or the port is taken.
    """
    if not (site / "index.html").is_file():
        raise UsageError(
            f"{site} does not hold a site — make one with `gfbench publish RESULTS --site {site}`"
        )
    handler = partial(_Handler, directory=str(site.resolve()))
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise UsageError(f"port {port}: {error.strerror} — choose another with --port") from None


app = typer.Typer()


@app.command(epilog="Example: gfbench serve public --port 8000")
def serve(
    site: Annotated[Path, typer.Argument(help="folder of a site")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port")] = 8000,
) -> None:
    """Show a site in the browser, on this machine only, until Ctrl-C."""
    with server(site, port) as running:
        print(f"http://127.0.0.1:{running.server_port}/", flush=True)
        note("press Ctrl-C to stop")
        running.serve_forever()
