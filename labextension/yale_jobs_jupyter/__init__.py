"""From JupyterLab's page to the user's Yale Jobs agent: commands by POST, events by WebSocket.

Jupyter's own login, authorization, XSRF and origin checks stand before everything; behind them is only the agent's unix
socket, in a folder of this user's own. Nothing listens on a port, and neither cookies nor tokens are passed on.
"""

import asyncio
import json
import os
import socket
import stat

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import ensure_async, url_path_join
from tornado import web
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.websocket import WebSocketClosedError, WebSocketHandler, websocket_connect

PROTOCOL_HEADER = "X-Yale-Protocol"
RESOURCE = "yale_jobs"
# What the agent answers with; a browser that is told so takes nothing else for a page.
CONTENT_TYPES = {"application/json", "image/jpeg", "image/png", "image/gif", "image/webp"}
# Seconds between two looks whether somebody has started the agent, and the shortest life of one that is started again.
LOOK, SHORT_LIFE = 0.5, 5


class Unreachable(Exception):
    """Why there is no agent to talk to, and what to do."""

    def __init__(self, what, fix):
        super().__init__(what)
        self.data = {"code": "agent", "what": what, "fix": fix}


def socket_path():
    """Where the agent listens, by the rules of kernel-lib/src/paths.ts and of Node's os.tmpdir()."""
    if path := os.environ.get("YALE_JOBS_SOCKET"):
        return path
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/"):
        return os.path.join(base, "yale-jobs", "agent.sock")
    tmp = next((t for v in ("TMPDIR", "TMP", "TEMP") if (t := os.environ.get(v))), "/tmp")
    return os.path.join(tmp.rstrip("/") or "/", f"yale-jobs-{os.getuid()}", "agent.sock")


def own_socket():
    """The socket's path; refused if another user could be listening there. Raises FileNotFoundError if there is none."""
    path = socket_path()
    folder = os.lstat(os.path.dirname(path))
    alone = stat.S_ISDIR(folder.st_mode) and folder.st_uid == os.getuid() and not folder.st_mode & 0o022
    if not alone or os.lstat(path).st_uid != os.getuid():
        raise Unreachable(
            f"The folder of the agent's socket, {os.path.dirname(path)}, is not yours alone.",
            "Set XDG_RUNTIME_DIR or YALE_JOBS_SOCKET to a place of your own, and restart JupyterLab.",
        )
    return path


class AgentResolver(Resolver):
    """Whatever the host is called: the agent's socket."""

    async def resolve(self, host, port, family=socket.AF_UNSPEC):
        return [(socket.AF_UNIX, own_socket())]


def launcher(handler):
    """The command `yale`, as the kernel that `yale setup` installed names it."""
    for found in handler.settings["kernel_spec_manager"].get_all_specs().values():
        command = found["spec"].get("metadata", {}).get("yale_jobs", {}).get("command")
        if command:
            return command
    raise Unreachable(
        "Yale Jobs is not set up for this JupyterLab: none of its kernels names the agent.",
        "Run `npx yale-jobs setup` in a terminal, then reload this page.",
    )


async def start_agent(handler):
    """Starts the agent, or finds that it runs. It lives on when Jupyter ends."""
    null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    try:
        command = [*launcher(handler), "agent", "start"]
        process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=null, stderr=pipe)
        errors = (await process.communicate())[1].decode(errors="replace").strip()
    except OSError as error:
        raise Unreachable(f"The agent could not be started: {error}.", "Run `yale setup` again.") from error
    if process.returncode:
        raise Unreachable(errors or "The agent could not be started.", "`yale agent log` says more.")


class CallHandler(APIHandler):
    """One command: the body is a JSON list of arguments, passed on as it is."""

    auth_resource = RESOURCE

    def initialize(self, client):
        self.client = client

    @web.authenticated
    @authorized
    async def post(self, call):
        headers = {PROTOCOL_HEADER: self.request.headers.get(PROTOCOL_HEADER, ""), "Content-Type": "application/json"}
        # A login waits for a person and a download for the network: the page decides how long.
        request = HTTPRequest(
            f"http://agent/v1/{call}", method="POST", body=self.request.body, headers=headers, request_timeout=0
        )
        try:
            try:
                response = await self.client.fetch(request, raise_error=False)
            except (FileNotFoundError, ConnectionRefusedError):
                # Nobody was there, so nothing was done.
                await start_agent(self)
                response = await self.client.fetch(request, raise_error=False)
        except Unreachable as error:
            return self.refuse(error.data)
        except (OSError, HTTPClientError) as error:
            what = f"The agent was lost while it worked on {call}: {error}."
            return self.refuse({"code": "agent", "what": what, "fix": "Look at the job's state, then try again."})
        kind = response.headers.get("Content-Type", "")
        # A refusal in words is an answer; browsers would write another status into the console as a fault of the page.
        self.set_status(200 if response.code == 400 else response.code)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        await self.finish(response.body, set_content_type=kind if kind in CONTENT_TYPES else "application/octet-stream")


    def refuse(self, error):
        self.finish(json.dumps({"error": error}))


class EventsHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """The agent's events for as long as the page is open. While there is no agent, the page is told, and waits here."""

    auth_resource = RESOURCE

    @ws_authenticated
    async def get(self):
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, "read", RESOURCE)):
            raise web.HTTPError(403)
        await super().get()

    def open(self):
        super().open()
        self.wanted = asyncio.Event()
        self.relay = asyncio.ensure_future(self.run())

    def on_message(self, message):
        # The page says one thing only: that somebody wants the agent started.
        self.wanted.set()

    def on_close(self):
        self.relay.cancel()

    async def run(self):
        start = True
        loop = asyncio.get_running_loop()
        try:
            while True:
                error = {"code": "agent", "what": "The agent was stopped.", "fix": ""}
                try:
                    if start:
                        await start_agent(self)
                    began = loop.time()
                    start = await self.pass_on()
                    if start and loop.time() - began < SHORT_LIFE:
                        await asyncio.sleep(SHORT_LIFE)
                    continue
                except Unreachable as refused:
                    error = refused.data
                except OSError:
                    pass
                await self.write_message(json.dumps({"type": "absent", "error": error}))
                start = await self.somebody_starts()
        except WebSocketClosedError:
            pass

    async def pass_on(self):
        """Events from the agent to the page until the agent ends; true if it did not say goodbye."""
        upstream = await websocket_connect("ws://agent/v1/events", resolver=AgentResolver(), connect_timeout=10)
        try:
            while (event := await upstream.read_message()) is not None:
                await self.write_message(event)
            return upstream.close_code != 1001
        finally:
            upstream.close()

    async def somebody_starts(self):
        """Waits until the page wants the agent, which gives true, or until another door has started it."""
        self.wanted.clear()
        while not self.wanted.is_set():
            try:
                await asyncio.wait_for(self.wanted.wait(), LOOK)
            except asyncio.TimeoutError:
                if os.path.exists(socket_path()):
                    return False
        return True


def _jupyter_server_extension_points():
    return [{"module": "yale_jobs_jupyter"}]


def _load_jupyter_server_extension(server):
    base = url_path_join(server.web_app.settings["base_url"], "yale-jobs", "v1")
    client = SimpleAsyncHTTPClient(
        force_instance=True, resolver=AgentResolver(), max_clients=100, max_body_size=1 << 30
    )
    server.web_app.add_handlers(
        ".*",
        [
            (url_path_join(base, "events"), EventsHandler),
            (url_path_join(base, "([a-z]+)"), CallHandler, {"client": client}),
        ],
    )
