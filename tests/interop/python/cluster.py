"""autobahn-python and paho-mqtt at the entries of a cluster: `--entries MQTT:HTTP,…`, `--victim PID` is the process of the first of them.

What is below `crash/` is durable. Everybody hears everything that everybody publishes there, in one order; who loses its entry goes on
at the next.
"""

import argparse
import asyncio
import os
import signal

from autobahn.wamp.types import PublishOptions, SubscribeOptions
from paho.mqtt.client import MQTTv5

from device import Device, fresh
from tap import run, same, scenario
from wamp import Events, connect, within

COUNT = 20
PREFIX = SubscribeOptions(match="prefix", details=True)
TOLD = PublishOptions(acknowledge=True)
BEGINNING = "2000-01-01T00:00:00Z"


def entries(args):
    """How each entry is reached."""
    ports = [map(int, entry.split(":")) for entry in args.entries.split(",")]
    return [argparse.Namespace(mqtt=mqtt, http=http, transport="ws", serializer="json", batched=None) for mqtt, http in ports]


def lasting(entry, client_id):
    """A device whose session is kept."""
    return Device(entry, MQTTv5, client_id=client_id, clean=False, SessionExpiryInterval=600)


async def published(entry, topic, round_):
    """Has a session and a device at an entry publish; all of it is acknowledged."""
    session, device = await connect(entry), await asyncio.to_thread(Device, entry, MQTTv5)
    texts = [f"{round_}-{entry.http}-{number}" for number in range(COUNT)]
    for text in texts:
        await within(session.publish(f"{topic}.wamp", text, options=TOLD))
        await asyncio.to_thread(device.publish, f"{topic.replace('.', '/')}/mqtt", text, 1)
    await asyncio.to_thread(device.leave)
    session.leave()
    await within(session.left)


@scenario
async def all_entries_tell_one_order_and_a_killed_one_is_left_without_a_gap(args):
    topic = f"crash.{fresh('order')}"
    filter_ = f"{topic.replace('.', '/')}/#"
    at = entries(args)
    sessions, listeners = [await connect(entry) for entry in at], [Events() for _ in at]
    for session, events in zip(sessions, listeners):
        await within(session.subscribe_with(events, topic, PREFIX, after=BEGINNING))
    ids = [fresh("kept") for _ in at]
    devices = [await asyncio.to_thread(lasting, entry, client_id) for entry, client_id in zip(at, ids)]
    for device in devices:
        same(await asyncio.to_thread(device.subscribe, filter_, 1), [1])

    async def heard(count):
        """What each hears next, as `topic text`; and the publication of the last of each session."""
        told, last = [], []
        for events in listeners:
            found = [await events.next() for _ in range(count)]
            told.append([f"{details.topic} {one[0]}" for one, _, details in found])
            last.append(found[-1][2].publication)
        for device in devices:
            messages = [await asyncio.to_thread(device.next) for _ in range(count)]
            told.append([f"{message.topic.replace('/', '.')} {message.payload.decode()}" for message in messages])
        for other in told[1:]:
            same(other, told[0])
        same(len(set(told[0])), count)
        return last

    await asyncio.gather(*(published(entry, topic, "before") for entry in at))
    last = await heard(2 * COUNT * len(at))
    os.kill(int(args.victim), signal.SIGKILL)
    await asyncio.to_thread(devices[0].ends.get, True, 60)
    await asyncio.to_thread(devices[0].client.loop_stop)
    await within(sessions[0].left)
    await asyncio.gather(*(published(entry, topic, "after") for entry in at[1:]))
    listeners[0], sessions[0] = Events(), await connect(at[1])
    await within(sessions[0].subscribe_with(listeners[0], topic, PREFIX, after=last[0]))
    devices[0] = await asyncio.to_thread(lasting, at[1], ids[0])
    same(devices[0].connack[0], True)
    await heard(2 * COUNT * len(at[1:]))
    for device in devices:
        await asyncio.to_thread(device.leave)


run("entries", "victim")
