"""An MQTT client of paho-mqtt whose callbacks became queues that can be waited on."""

import asyncio
import itertools
import os
import queue
import socket

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tap import PATIENCE

_numbers = itertools.count()


def fresh(name):
    """A client id or topic that nobody else uses."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def properties(packet, **values):
    """The properties of one packet: `properties("publish", ContentType="text/plain")`."""
    made = Properties(getattr(PacketTypes, packet.upper()))
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Device:
    """One client, connected when it is made; used in a `with` block, it disconnects at the end.

    `connack` is `(session present, reason code, properties)`; `messages` holds what came; `told` the properties of the last SUBACK
    or UNSUBACK.
    """

    def __init__(
        self,
        ports,
        protocol,
        client_id=None,
        clean=True,
        will=None,
        manual_ack=False,
        ws=False,
        login=None,
        ca=None,
        cert=None,
        headers=None,
        port=None,
        **values,
    ):
        self.protocol, self.clean, self.values, self.ws = protocol, clean, values, ws
        self.port = port or ((ports.https if ca else ports.http) if ws else (ports.mqtts if ca else ports.mqtt))
        self.messages, self.connacks, self.ends, self.answers = (queue.Queue() for _ in range(4))
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=fresh("paho") if client_id is None else client_id,
            protocol=protocol,
            transport="websockets" if ws else "tcp",
            reconnect_on_failure=False,
            manual_ack=manual_ack,
            **({} if protocol == MQTTv5 else {"clean_session": clean}),
        )
        if ws:
            self.client.ws_set_options(path="/mqtt", headers=headers)
        if will:
            self.client.will_set(**will)
        if ca:
            # Certificate and key are in one file.
            self.client.tls_set(ca, certfile=cert)
        if login:
            self.client.username_pw_set(*login)
        self.client.on_connect = lambda _c, _u, flags, reason, props: self._answered(
            (flags.session_present, reason, props)
        )
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_disconnect = lambda _c, _u, flags, reason, _p: self._ended(
            (flags.is_disconnect_packet_from_server, reason)
        )
        self.client.on_subscribe = lambda _c, _u, mid, reasons, props: self.answers.put((mid, reasons, props))
        self.client.on_unsubscribe = lambda _c, _u, mid, reasons, props: self.answers.put((mid, reasons, props))
        self.connect()

    def connect(self):
        """Connects, for the first time or again, and waits for the CONNACK."""
        values = {}
        if self.protocol == MQTTv5:
            values = {"clean_start": self.clean, "properties": properties("connect", **self.values)}
        self.awaits_connack = True
        self.client.connect("127.0.0.1", self.port, **values)
        self.client.loop_start()
        self.connack = self.connacks.get(timeout=PATIENCE)
        if self.connack is None:
            self.client.loop_stop()
            raise ConnectionAbortedError("closed before the CONNACK")
        if self.connack[1].is_failure:
            self.client.loop_stop()
            raise ConnectionRefusedError(self.connack[1].value, self.connack[1].getName())

    def _answered(self, connack):
        self.awaits_connack = False
        self.connacks.put(connack)

    def _ended(self, end):
        if self.awaits_connack:
            self._answered(None)
        self.ends.put(end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()

    def leave(self, **values):
        """Disconnects as the protocol wants it, and waits for the end."""
        if self.client.is_connected():
            self.client.disconnect(**values)
        self.client.loop_stop()

    def drop(self):
        """Cuts the connection without a DISCONNECT, and waits until the client has seen it."""
        wrapped = self.client.socket()
        # Paho's WebSocket offers no way to its TCP socket.
        (wrapped._socket if self.ws else wrapped).shutdown(socket.SHUT_RDWR)
        self.ends.get(timeout=PATIENCE)
        self.client.loop_stop()

    def subscribe(self, *arguments, **values):
        """Waits for the SUBACK and hands back its reason codes, as numbers."""
        return self._answer(self.client.subscribe(*arguments, **values))

    def unsubscribe(self, *arguments, **values):
        """Waits for the UNSUBACK and hands back its reason codes, as numbers."""
        return self._answer(self.client.unsubscribe(*arguments, **values))

    def _answer(self, sent):
        result, mid = sent
        assert result == 0, f"not sent: {result}"
        answered, reasons, self.told = self.answers.get(timeout=PATIENCE)
        assert answered == mid, f"answer {answered} to request {mid}"
        return [reason.value for reason in reasons]

    def publish(self, topic, payload=None, qos=0, retain=False, **values):
        """Publishes and, for QoS 1 and 2, waits until the exchange is over."""
        made = properties("publish", **values) if values else None
        info = self.client.publish(topic, payload, qos, retain, made)
        info.wait_for_publish(PATIENCE)
        assert info.is_published(), f"no acknowledgement for {topic}"

    def next(self):
        """The next message that comes."""
        return self.messages.get(timeout=PATIENCE)

    def texts(self, count):
        """The payloads of the next `count` messages."""
        return [self.next().payload.decode() for _ in range(count)]

    def follow(self, ports):
        """Waits until the broker is seen to be gone, and connects to the next one."""
        self.ends.get(timeout=PATIENCE)
        self.client.loop_stop()
        self.port = ports.http if self.ws else ports.mqtt
        self.connect()


class AsyncDevice:
    """A device whose methods wait in a thread, so that the WAMP sessions beside it go on."""

    def __init__(self, device):
        self.device = device

    def __getattr__(self, name):
        method = getattr(self.device, name)
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.leave()


async def device(args, protocol=MQTTv5, **options):
    return AsyncDevice(await asyncio.to_thread(Device, args, protocol, **options))
