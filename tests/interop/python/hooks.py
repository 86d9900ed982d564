"""A web server decides who somebody is and what it may do: it says yes and no, says nothing, and is gone. Asked for by mosquitto_pub,
mosquitto_sub, paho-mqtt and autobahn-python; the broker is started here (`--fennec`).
"""

import asyncio
import contextlib
import http.server
import json
import subprocess
import threading

from autobahn.wamp.types import PublishOptions
from paho.mqtt.client import MQTTv5

from device import Device
from fennec import Fennec
from tap import PATIENCE, run, same, scenario
from wamp import Events, connect, refusal, within

FAILED, DENIED = "wamp.error.authentication_failed", "wamp.error.not_authorized"
TOLD = PublishOptions(acknowledge=True)

# How long the broker waits for an answer that never comes is so much shorter than how long a client waits for the broker.
CONFIG = """
[auth_hook]
url = "http://127.0.0.1:PORT/who"
token = "sesame"
timeout_ms = 1000

[authorize_hook]
url = "http://127.0.0.1:PORT/may"
token = "sesame"

[[role]]
name = "user"
authorizer = "hook"
authorizer_timeout_ms = 1000
"""


class Decider(http.server.ThreadingHTTPServer):
    """Lets in whose password is `open`, and lets them have topics below `yes`. It never answers about `slow` ones."""

    daemon_threads = True

    def __init__(self):
        self.asked, self.over = [], threading.Event()
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        self.over.set()
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(question)
        if "slow" in (question.get("name"), question.get("topic", "").split("/")[0]):
            self.server.over.wait()
            return
        if self.headers["authorization"] != "Bearer sesame":
            return self.send_error(403)
        if self.path == "/who":
            answer = {"allow": question["password"] == "open", "role": "user"}
        else:
            answer = {"allow": question["topic"].startswith("yes/")}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """What is asked for is kept, not told."""


@contextlib.contextmanager
def deciding(args):
    """A broker that asks a web server, and both of them."""
    server = Decider()
    with Fennec(args, CONFIG.replace("PORT", str(server.server_port))) as broker:
        try:
            yield broker.ports, server
        finally:
            server.stop()


def mosquitto(program, ports, name, password, *words):
    """Exit code and what it said, of a tool that ends by itself."""
    command = [program, "-V", "5", "-p", str(ports.mqtt), "-u", name, "-P", password, "-q", "1", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, stdin=subprocess.DEVNULL)
    return ended.returncode, ended.stdout + ended.stderr


@scenario
def mosquittos_tools_do_what_the_web_server_lets_them(args):
    if not args.tools:
        return
    with deciding(args) as (ports, server):
        publish = lambda name, password, topic: mosquitto(
            "mosquitto_pub", ports, name, password, "-t", topic, "-m", "x", "-r"
        )
        same(publish("ann", "open", "yes/1"), (0, ""))
        questions = [(one.get("action"), one.get("name"), one.get("topic")) for one in server.asked]
        same(questions, [(None, "ann", None), ("publish", None, "yes/1")])
        for topic in ("no/1", "slow/1"):
            assert "Not authorized" in publish("ann", "open", topic)[1], topic
        refused = publish("ann", "shut", "yes/1")
        assert refused[0] != 0 and "Bad User Name or Password" in refused[1], refused
        refused = publish("slow", "open", "yes/1")
        assert refused[0] != 0 and "Server unavailable" in refused[1], refused
        subscribe = lambda topic: mosquitto("mosquitto_sub", ports, "ann", "open", "-t", topic, "-C", "1")
        same(subscribe("yes/#"), (0, "x\n"))
        assert "denied" in subscribe("no/#")[1], "no/# is not denied"
        server.stop()
        refused = publish("ann", "open", "yes/1")
        assert refused[0] != 0 and "Server unavailable" in refused[1], refused


@scenario
async def autobahn_does_what_the_web_server_lets_it(args):
    with deciding(args) as (ports, server):
        join = lambda name, ticket: connect(ports, authmethods=["ticket"], authid=name, secret=lambda _: ticket)
        async with await join("ann", "open") as session:
            details = session.joined.result()
            same((details.authid, details.authmethod, details.authprovider), ("ann", "ticket", "http"))
            events = Events()
            await within(session.subscribe(events, "yes.1"))
            for topic in ("no.1", "slow.1"):
                same(await refusal(session.subscribe(events, topic)), DENIED)
                same(await refusal(session.publish(topic, 1, options=TOLD)), DENIED)
            async with await join("bob", "open") as other:
                await within(other.publish("yes.1", "told", options=TOLD))
            same(await events.firsts(1), ["told"])
            for name, ticket in [("ann", "shut"), ("slow", "open")]:
                same(await refusal(join(name, ticket)), FAILED)
            same(await refusal(connect(ports)), "wamp.error.authentication_required")
            server.stop()
            same(await refusal(session.publish("yes.1", 1, options=TOLD)), DENIED)
            same(await refusal(join("ann", "open")), FAILED)


@scenario
async def a_device_that_is_refused_is_told_why(args):
    def reason(**options):
        try:
            with Device(ports, MQTTv5, **options):
                return 0
        except ConnectionRefusedError as error:
            return error.args[0]

    with deciding(args) as (ports, server):
        ask = lambda name, password: asyncio.to_thread(reason, login=(name, password))
        same([await ask("ann", "open"), await ask("ann", "shut"), await ask("slow", "open")], [0, 0x86, 0x88])
        same(await asyncio.to_thread(reason), 0x87)
        server.stop()
        same(await ask("ann", "open"), 0x88)


if __name__ == "__main__":
    run("transport", "serializer", "batched", "fennec", "tools")
