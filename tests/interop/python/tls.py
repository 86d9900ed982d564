"""TLS by paho-mqtt and autobahn-python: `--ca` is the certificate of the broker, `--transport` as everywhere."""

import asyncio
import ssl

from paho.mqtt.client import MQTTv5, MQTTv311

from device import Device, fresh
from tap import run, same, scenario
from wamp import Events, connect, within


@scenario
def a_device_speaks_over_tls(args):
    for protocol, ws in [(MQTTv311, False), (MQTTv5, False), (MQTTv5, True)]:
        topic = fresh("tls")
        with Device(args, protocol, ca=args.ca, ws=ws) as safe, Device(args, protocol) as plain:
            safe.subscribe(topic, 1)
            # More than a record of TLS holds.
            payload = bytes(number % 251 for number in range(300_000))
            plain.publish(topic, payload, 1)
            safe.publish(topic, b"own", 1)
            same([safe.next().payload for _ in range(2)], [payload, b"own"])


@scenario
async def a_session_speaks_over_tls(args):
    context = ssl.create_default_context(cafile=args.ca)
    async with await connect(args, tls=context) as safe, await connect(args) as plain:
        events = Events()
        await within(safe.subscribe(events, "com.tls"))
        plain.publish("com.tls", "x" * 300_000)
        same(await events.firsts(1), ["x" * 300_000])
        await within(safe.register(lambda value: value, "com.tls.echo"))
        same(await within(plain.call("com.tls.echo", "y" * 300_000)), "y" * 300_000)


@scenario
def a_device_that_speaks_plainly_to_a_tls_listener_is_cut_off(args):
    async def talk():
        reader, writer = await asyncio.open_connection("127.0.0.1", args.mqtts)
        writer.write(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        found = await within(reader.read())
        # An alert of TLS (RFC 8446, 6) or nothing; no CONNACK.
        assert found[:1] in (b"", b"\x15"), found
        writer.close()

    asyncio.run(talk())


if __name__ == "__main__":
    run("transport", "serializer", "batched", "ca")
