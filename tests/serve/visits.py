"""One client at an ASGI app's door."""

import asyncio
import json


class Visit:
    """One request at the app's door, sent at once. status, headers, body: what came back so far."""

    def __init__(self, app, path, body, headers=(), method="POST"):
        self.status, self.headers, self.body = None, {}, b""
        self._left, self._news, self._sent = asyncio.Event(), asyncio.Event(), False
        pairs = {"host": "127.0.0.1:8333", "content-type": "application/json"}
        raw = [(n.encode(), v.encode("latin-1")) for n, v in [*pairs.items(), *headers]]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": raw}
        scope |= {"query_string": b"", "scheme": "http", "server": ("127.0.0.1", 8333), "state": {}}
        self._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.task = asyncio.create_task(app(scope, self._receive, self._send))
        self.task.add_done_callback(lambda _task: self._news.set())

    def leave(self):
        self._left.set()

    async def until(self, said):
        """The body so far, once it contains these bytes."""
        while said not in self.body:
            assert not self.task.done(), (self.status, self.body)
            self._news.clear()
            await self._news.wait()
        return self.body

    async def ended(self):
        await self.task
        return self

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        """Of a chat's answer, streamed or whole, in OpenAI's shape."""
        if self.headers["content-type"] == "application/json":
            return self.json["choices"][0]["message"]["content"]
        return "".join(
            choice["delta"].get("content", "") for chunk in self.events for choice in chunk.get("choices", ())
        )

    @property
    def events(self):
        lines = self.body.replace(b"\r", b"").split(b"\n")
        told = [line[6:] for line in lines if line.startswith(b"data: ") and line != b"data: [DONE]"]
        return [json.loads(text) for text in told]

    async def _receive(self):
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self._content}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {n.decode(): v.decode("latin-1") for n, v in message["headers"]}
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                self._left.set()  # as servers do: after the answer there is no client
        self._news.set()
