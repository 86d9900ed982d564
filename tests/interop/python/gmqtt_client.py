"""MQTT 5 by gmqtt, which runs on asyncio; `--version 311` leaves out what only MQTT 5 has."""

import asyncio
import logging

from gmqtt import Client, Message, Subscription
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

from tap import PATIENCE, run, same, scenario
from device import fresh

# A cut connection is what some scenarios are about; gmqtt would print each one.
logging.disable(logging.CRITICAL)


class Peer:
    """One connected client in an `async with` block; what comes is in `messages`."""

    def __init__(self, args, client_id=None, clean=True, acknowledge=True, **values):
        self.args, self.acknowledge = args, acknowledge
        self.version = MQTTv311 if args.version == "311" else MQTTv50
        self.messages, self.answers, self.ends = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
        self.client = Client(
            client_id or fresh("gmqtt"), clean_session=clean, optimistic_acknowledgement=acknowledge, **values
        )
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_disconnect = lambda _client, packet, exc=None: self.ends.put_nowait(packet)
        self.client.on_subscribe = lambda _client, mid, qos, _properties: self.answers.put_nowait((mid, qos))
        self.client.on_unsubscribe = lambda _client, mid, *qos: self.answers.put_nowait((mid, qos))

    def _on_connect(self, _client, flags, _result, properties):
        self.session_present, self.properties = flags & 1, properties

    async def _on_message(self, _client, topic, payload, qos, properties):
        self.messages.put_nowait((topic, payload, qos, properties))
        if not self.acknowledge:
            await asyncio.Event().wait()
        return 0

    async def __aenter__(self):
        await asyncio.wait_for(self.client.connect("127.0.0.1", self.args.mqtt, version=self.version), PATIENCE)
        return self

    async def __aexit__(self, *_):
        if self.client.is_connected:
            await self.client.disconnect()

    async def drop(self):
        """Cuts the connection without a DISCONNECT."""
        self.client._connection._transport.abort()
        await asyncio.wait_for(self.ends.get(), PATIENCE)

    async def subscribe(self, subscription, **values):
        mid = self.client.subscribe(subscription, **values)
        return await self._answer(mid)

    async def unsubscribe(self, topic):
        return await self._answer(self.client.unsubscribe(topic))

    async def _answer(self, mid):
        answered, result = await asyncio.wait_for(self.answers.get(), PATIENCE)
        same(answered, mid)
        return list(result)

    async def publish(self, *arguments, **values):
        """Publishes and waits until all acknowledgements are here."""
        self.client.publish(*arguments, **values)
        await asyncio.wait_for(self.client._persistent_storage.wait_empty(), PATIENCE)

    async def next(self):
        return await asyncio.wait_for(self.messages.get(), PATIENCE)

    async def texts(self, count):
        return [(await self.next())[1].decode() for _ in range(count)]


@scenario
async def every_pair_of_qos_is_delivered_with_the_lower_one(args):
    async with Peer(args) as subscriber, Peer(args) as publisher:
        for granted in (0, 1, 2):
            topic = fresh("qos")
            same(await subscriber.subscribe(topic, qos=granted), [granted])
            for published in (0, 1, 2):
                await publisher.publish(topic, f"{published}", qos=published)
                found = await subscriber.next()
                same(found[:3], (topic, f"{published}".encode(), min(granted, published)))


@scenario
async def a_retained_message_comes_to_those_who_subscribe_later(args):
    topic = fresh("kept")
    async with Peer(args) as subscriber, Peer(args) as publisher:
        await publisher.publish(topic, "value", qos=1, retain=True)
        await subscriber.subscribe(topic, qos=1)
        message = await subscriber.next()
        same((message[1], message[3]["retain"]), (b"value", 1))


@scenario
async def a_will_is_published_when_the_connection_is_cut(args):
    topic = fresh("will")
    async with Peer(args) as watcher:
        await watcher.subscribe(topic, qos=2)
        async with Peer(args, will_message=Message(topic, "gone", qos=2)) as dying:
            await dying.drop()
        same((await watcher.next())[1:3], (b"gone", 2))


@scenario
async def what_was_not_acknowledged_comes_again_marked(args):
    topic, client_id = fresh("again"), fresh("lasting")
    lasting = {"client_id": client_id, "clean": False}
    if args.version == "5":
        lasting["session_expiry_interval"] = 600
    async with Peer(args) as publisher:
        await publisher.subscribe(f"{topic}/will", qos=1)
        will = Message(f"{topic}/will", "gone", qos=1)
        async with Peer(args, acknowledge=False, will_message=will, **lasting) as sleeper:
            same(sleeper.session_present, 0)
            await sleeper.subscribe(topic, qos=1)
            for number in range(3):
                await publisher.publish(topic, str(number), qos=1)
            same(await sleeper.texts(3), ["0", "1", "2"])
            await sleeper.drop()
        # By the will the broker says that it has seen the end too; what comes later has not been sent before.
        same(await publisher.texts(1), ["gone"])
        await publisher.publish(topic, "3", qos=1)
        async with Peer(args, **lasting) as sleeper:
            same(sleeper.session_present, 1)
            found = [await sleeper.next() for _ in range(4)]
            same([(message[1], message[3]["dup"]) for message in found], [(b"0", 1), (b"1", 1), (b"2", 1), (b"3", 0)])


@scenario
async def a_burst_of_every_qos_arrives_in_order(args):
    topic = fresh("burst")
    async with Peer(args) as subscriber, Peer(args) as publisher:
        for qos in (0, 1, 2):
            await subscriber.subscribe(f"{topic}/{qos}", qos=qos)
            for wave in range(20):
                # gmqtt does not wait when the broker's receive maximum is reached: it raises an error.
                for number in range(15):
                    publisher.client.publish(f"{topic}/{qos}", f"{wave}/{number}", qos=qos)
                same(await subscriber.texts(15), [f"{wave}/{number}" for number in range(15)])
                await asyncio.wait_for(publisher.client._persistent_storage.wait_empty(), PATIENCE)


def only_5(function):
    """A scenario of MQTT 5 alone: left out for other versions."""
    import sys

    return function if "311" in sys.argv else scenario(function)


@only_5
async def properties_pass_through(args):
    topic = fresh("properties")
    values = {
        "content_type": "application/cbor",
        "response_topic": "answers/here",
        "correlation_data": b"\x00\xff",
        "payload_format_id": 0,
        "message_expiry_interval": 100,
        "user_property": [("k", "v"), ("k", "w")],
    }
    async with Peer(args) as subscriber, Peer(args) as publisher:
        await subscriber.subscribe(topic, qos=1)
        await publisher.publish(topic, b"\xa0", qos=1, **values)
        found = (await subscriber.next())[3]
        same(found["user_property"], values["user_property"])
        same(found["content_type"], ["application/cbor"])
        same(found["response_topic"], ["answers/here"])
        same(found["correlation_data"], [b"\x00\xff"])
        assert 90 <= found["message_expiry_interval"][0] <= 100, found


@only_5
async def subscription_identifiers_come_back(args):
    topic = fresh("ids")
    async with Peer(args) as subscriber, Peer(args) as publisher:
        await subscriber.subscribe(f"{topic}/a", qos=1, subscription_identifier=5)
        await subscriber.subscribe(f"{topic}/#", qos=1, subscription_identifier=16_384)
        await publisher.publish(f"{topic}/a", "x", qos=1)
        same(sorted((await subscriber.next())[3]["subscription_identifier"]), [5, 16_384])


@only_5
async def both_sides_can_use_topic_aliases(args):
    topic = fresh("alias")
    async with Peer(args, topic_alias_maximum=10) as subscriber, Peer(args) as publisher:
        await subscriber.subscribe(topic, qos=1)
        for number in range(5):
            # gmqtt sends the topic once and the alias alone from then on.
            await publisher.publish(topic, str(number), qos=1, topic_alias=3)
        same([(await subscriber.next())[:2] for _ in range(5)], [(topic, str(n).encode()) for n in range(5)])


@only_5
async def subscribe_options_are_kept(args):
    topic = fresh("options")
    async with Peer(args) as one, Peer(args) as other:
        await one.subscribe([Subscription(topic, qos=1, no_local=True, retain_as_published=True)])
        await one.publish(topic, "own", qos=1)
        await other.publish(topic, "foreign", qos=1, retain=True)
        message = await one.next()
        same((message[1], message[3]["retain"]), (b"foreign", 1))


@only_5
async def a_second_client_of_the_same_id_takes_over(args):
    client_id = fresh("twin")
    async with Peer(args, client_id=client_id) as first, Peer(args, client_id=client_id) as second:
        await asyncio.wait_for(first.ends.get(), PATIENCE)
        assert second.client.is_connected


if __name__ == "__main__":
    run("version")
