"""Clients behind a proxy, which says for whom it connects: by the PROXY protocol, versions 1 and 2, and by X-Forwarded-For. The admin API
tells the addresses of the clients. The broker is started here (`--fennec`), the proxy too.
"""

import base64
import contextlib
import ipaddress
import json
import socket
import struct
import subprocess
import threading
import urllib.request
from types import SimpleNamespace

from paho.mqtt.client import MQTTv5

from device import Device, fresh
from fennec import Fennec
from tap import PATIENCE, run, same, scenario
from wamp import Events, connect, within

ADMIN, PASSWORD = "ann", "the one who watches"

ROLES = """
[[role]]
name = "anonymous"
permissions = [{ action = ["publish", "subscribe"], topic = "#" }]

[[role]]
name = "operator"
permissions = [{ action = "call", uri = "fennec.admin.", match = "prefix" }]
"""

BY_HEADER = """
anonymous = true
trusted_proxies = "127.0.0.0/8"
[listen]
mqtt = "off"
http = "127.0.0.1:0"
rawsocket = "off"
admin = "127.0.0.1:0"
"""

BY_PROXY_PROTOCOL = """
anonymous = true
trusted_proxies = "127.0.0.0/8"
[listen]
mqtt = { address = "127.0.0.1:0", proxy_protocol = true }
http = { address = "127.0.0.1:0", proxy_protocol = true }
rawsocket = { address = "127.0.0.1:0", proxy_protocol = true }
admin = "127.0.0.1:0"
"""


def operator(args):
    """The entry of who may ask for the sessions."""
    command = [args.fennec, "hash-password", "--name", ADMIN]
    made = subprocess.run(command, input=PASSWORD, capture_output=True, text=True, timeout=2 * PATIENCE, check=True)
    return f'{made.stdout}role = "operator"\n'


def sessions(ports):
    """Where the broker says that its clients are, by their protocol."""
    request = urllib.request.Request(f"http://127.0.0.1:{ports.admin}/admin/sessions")
    request.add_header("authorization", f"Basic {base64.b64encode(f'{ADMIN}:{PASSWORD}'.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        listed = json.load(answer)["sessions"]
    return sorted((one["protocol"], one["transport"]["peer"]) for one in listed if one["protocol"] != "http")


def version_1(address, port):
    family = "TCP6" if ":" in address else "TCP4"
    to = "::1" if ":" in address else "127.0.0.1"
    return f"PROXY {family} {address} {to} {port} 1883\r\n".encode()


def version_2(address, port):
    family, to = (0x21, "::1") if ":" in address else (0x11, "127.0.0.1")
    said = ipaddress.ip_address(address).packed + ipaddress.ip_address(to).packed + struct.pack("!HH", port, 1883)
    # PP2_TYPE_NOOP, which is to be passed over.
    said += b"\x04\x00\x02ab"
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + struct.pack("!BH", family, len(said)) + said


class Proxy:
    """Passes each connection on to a port of the broker, behind a header."""

    def __init__(self, port, header):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(port, header), daemon=True).start()

    def _accept(self, port, header):
        # The end comes when the listener is closed.
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                broker = socket.create_connection(("127.0.0.1", port))
                broker.sendall(header)
                for ends in ((client, broker), (broker, client)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    @staticmethod
    def _pass(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


@contextlib.contextmanager
def proxied(ports, header):
    """The ports of proxies in front of those of the broker."""
    proxies = {name: Proxy(getattr(ports, name), header) for name in ("mqtt", "http", "rawsocket")}
    try:
        yield SimpleNamespace(**{**vars(ports), **{name: proxy.port for name, proxy in proxies.items()}})
    finally:
        for proxy in proxies.values():
            proxy.close()


@scenario
async def who_comes_by_the_proxy_protocol_is_seen_with_its_own_address(args):
    with Fennec(args, BY_PROXY_PROTOCOL + operator(args) + ROLES) as broker:
        for header in (version_1, version_2):
            for address, shown in [("203.0.113.7", "203.0.113.7:40000"), ("2001:db8::7", "[2001:db8::7]:40000")]:
                with proxied(broker.ports, header(address, 40000)) as ports:
                    await talk_and_be_seen(broker.ports, ports, {}, ["mqtt", "mqtt", "wamp", "wamp"], shown)


@scenario
async def who_comes_by_a_header_of_http_is_seen_with_its_own_address(args):
    with Fennec(args, BY_HEADER + operator(args) + ROLES) as broker:
        # What stands before the address that the proxy has added anybody may have written.
        header = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
        ports = SimpleNamespace(**{**vars(broker.ports), "mqtt": None, "rawsocket": None})
        await talk_and_be_seen(broker.ports, ports, header, ["mqtt", "wamp"], "203.0.113.9")


async def talk_and_be_seen(real, ports, headers, protocols, shown):
    """Devices and sessions come by `ports`, hear each other, and are seen where `shown` says."""
    topic = fresh("proxied")
    ways = [way for way in ("ws", "rs") if way == "ws" or ports.rawsocket]
    devices = [Device(ports, MQTTv5, ws=ws, headers=headers) for ws in (False, True) if ws or ports.mqtt]
    joined = [
        await connect(SimpleNamespace(**{**vars(ports), "transport": way}), headers=headers if way == "ws" else None)
        for way in ways
    ]
    try:
        events = [Events() for _ in joined]
        for session, heard in zip(joined, events):
            await within(session.subscribe(heard, topic))
        for device in devices:
            device.publish(topic, '"told"', 1)
        for heard in events:
            same(await heard.firsts(len(devices)), ["told"] * len(devices))
        found = sessions(real)
        same([protocol for protocol, _ in found], protocols)
        for _, peer in found:
            assert peer.startswith(shown), found
    finally:
        for device in devices:
            device.leave()
        for session in joined:
            await session.__aexit__()


@scenario
def who_says_nothing_or_is_no_proxy_is_cut_off(args):
    with Fennec(args, BY_PROXY_PROTOCOL.replace("127.0.0.0/8", "192.0.2.0/24") + ROLES) as broker:
        with proxied(broker.ports, version_1("203.0.113.7", 40000)) as ports:
            refused(ports)
    with Fennec(args, BY_PROXY_PROTOCOL + ROLES) as broker:
        refused(broker.ports)


def refused(ports):
    try:
        with Device(ports, MQTTv5):
            raise AssertionError("it was let in")
    except (ConnectionAbortedError, ConnectionResetError, BrokenPipeError):
        pass


if __name__ == "__main__":
    run("transport", "serializer", "batched", "fennec")
