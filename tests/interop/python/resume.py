"""Subscribers that go on where they were: autobahn-python, paho-mqtt, and server-sent events.

`--transport` and `--serializer` are those of the WAMP sessions, `--fennec` is the program of the broker. Topics below `log/` are durable.
"""

import asyncio
import http.client
import json
import re
import threading
import time
from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode

from autobahn.wamp.types import PublishOptions, SubscribeOptions
from paho.mqtt.client import MQTTv5

from device import Device, fresh, properties
from fennec import Fennec
from tap import PATIENCE, run, same, scenario
from wamp import Events, connect, refusal, within

DETAILS = SubscribeOptions(details=True)
PREFIX = SubscribeOptions(match="prefix", details=True)
WILDCARD = SubscribeOptions(match="wildcard", details=True)
TOLD = PublishOptions(acknowledge=True)
SHORT = "[[durable]]\ntopic = 'short/#'\nmax_messages = 10\n"
BEGINNING = "2000-01-01T00:00:00Z"
EVENT_ID = re.compile(r"\d{10}[0-9a-z]+")


async def published(session, topic, count):
    """The publication ids of events `0`, `1`, …, each in a millisecond of its own: times are told in these."""
    ids = []
    for number in range(count):
        ids.append((await within(session.publish(topic, number, options=TOLD))).id)
        moment = time.time_ns() // 1_000_000
        # The broker has a clock of its own, which may be anywhere in its millisecond.
        while time.time_ns() // 1_000_000 < moment + 2:
            await asyncio.sleep(0)
    return ids


async def past(session, subscription, **asked):
    """The first arguments of the events of the past, and whether there are more."""
    found = await within(session.call("wamp.subscription.get_events", subscription.id, asked))
    # A result of several values, or of keyword values, has a type of its own.
    return [event["args"][0] for event in found.results], found.kwresults["is_limit_reached"]


async def resumed(session, subscription):
    """The status of a subscription that has found where it goes on."""
    while "recovered" not in (status := await session.call("fennec.subscription.status", subscription)):
        await asyncio.sleep(0)
    return status


async def entries(session, subscription):
    found = await within(session.call("wamp.subscription.get_events", subscription.id))
    return found.results


def a_moment_before(timestamp):
    """The time a microsecond earlier."""
    found = datetime.fromisoformat(timestamp.replace("Z", "+00:00")) - timedelta(microseconds=1)
    return found.astimezone(timezone.utc).isoformat()


@scenario
async def a_wamp_subscription_goes_on_behind_a_publication_an_event_or_a_time(args):
    topic = f"log.{fresh('after')}"
    async with await connect(args) as session, await connect(args) as publisher:
        ids = await published(publisher, topic, 5)
        plain = await within(session.subscribe(Events(), topic, DETAILS))
        there = await entries(session, plain)
        same([event["publication"] for event in there], ids)
        event_ids = [event["details"]["event_id"] for event in there]
        assert all(EVENT_ID.fullmatch(event_id) for event_id in event_ids), event_ids
        for after, expected in [
            (ids[1], [2, 3, 4]),
            (event_ids[2], [3, 4]),
            (a_moment_before(there[3]["timestamp"]), [3, 4]),
            (BEGINNING, [0, 1, 2, 3, 4]),
            (ids[4], []),
        ]:
            for name in ("after", "_after"):
                async with await connect(args) as other:
                    events = Events()
                    held = await within(other.subscribe_with(events, topic, DETAILS, **{name: after}))
                    same(await events.firsts(len(expected)), expected)
                    await within(publisher.publish(topic + ".other", "other", options=TOLD))
                    status = await within(resumed(other, held.id))
                    same((status["recovered"], status["first_available"] <= event_ids[0]), (True, True))
        async with await connect(args) as other:
            for wrong in ("yesterday", -1, [1]):
                same(
                    await refusal(other.subscribe_with(Events(), topic, DETAILS, after=wrong)),
                    "wamp.error.invalid_argument",
                )


@scenario
async def a_wamp_subscription_begins_with_the_last_events(args):
    topic = f"log.{fresh('rewind')}"
    async with await connect(args) as publisher:
        await published(publisher, topic, 5)
        for asked, expected in [({"rewind": 2}, [3, 4]), ({"_rewind": 9}, [0, 1, 2, 3, 4]), ({"rewind": 0}, [])]:
            async with await connect(args) as session:
                events = Events()
                await within(session.subscribe_with(events, topic, DETAILS, **asked))
                await within(publisher.publish(topic + ".x", "behind", options=TOLD))
                await within(session.subscribe(events, topic + ".x", DETAILS))
                same(await events.firsts(len(expected)), expected)
                await within(publisher.publish(topic + ".x", "live", options=TOLD))
                same(await events.firsts(1), ["live"])


@scenario
async def a_named_subscription_goes_on_behind_what_its_client_acknowledged(args):
    name = fresh("named")
    topic = f"app.{name}"
    async with await connect(args) as publisher:
        for by_event_id in (False, True):
            asked = {"_durable": f"{name}-{by_event_id}", "acknowledge": "client"}
            session, events = await connect(args), Events()
            held = await within(session.subscribe_with(events, topic, DETAILS, **asked))
            ids = await published(publisher, topic, 5)
            same([publication for _, publication in await events.publications(5)], ids)
            done = ids[2]
            if by_event_id:
                done = (await entries(session, held))[-3]["details"]["event_id"]
            same(await within(session.call("fennec.subscription.ack", held.id, done)), True)
            status = await within(session.call("fennec.subscription.status", held.id))
            same((status["durable"], status["acknowledge"]), (asked["_durable"], "client"))
            assert status["acknowledged"] < status["sent"], status
            session.cut()
            await within(session.left)
            await within(publisher.publish(topic, "away", options=TOLD))
            async with await connect(args) as session:
                events = Events()
                held = await within(session.subscribe_with(events, topic, DETAILS, **asked))
                same(await events.firsts(3), [3, 4, "away"])
                listed = (await within(session.call("fennec.durable.list")))["durables"]
                assert asked["_durable"] in [one["name"] for one in listed], listed


@scenario
async def a_named_subscription_without_acknowledgements_goes_on_behind_what_was_sent(args):
    name = fresh("named")
    async with await connect(args) as publisher:
        for first, last in ((0, 3), (3, 6)):
            async with await connect(args) as session:
                events = Events()
                await within(session.subscribe_with(events, f"app.{name}", DETAILS, durable=name))
                for number in range(first, last):
                    await within(publisher.publish(f"app.{name}", number, options=TOLD))
                same(await events.firsts(3), list(range(first, last)))
        await within(publisher.publish(f"app.{name}", "away", options=TOLD))
        async with await connect(args) as session:
            events = Events()
            await within(session.subscribe_with(events, f"app.{name}", DETAILS, durable=name))
            same(await events.firsts(1), ["away"])
        same(await within(publisher.call("fennec.durable.remove", name)), True)
        same(await refusal(publisher.call("fennec.durable.remove", name)), "fennec.error.no_such_durable")


@scenario
async def who_cannot_say_options_has_a_subscription_replayed(args):
    topic = f"log.{fresh('replay')}"
    async with await connect(args) as session, await connect(args) as publisher:
        ids = await published(publisher, topic, 5)
        events = Events()
        held = await within(session.subscribe(events, topic, DETAILS))
        there = await entries(session, held)
        for asked, expected in [
            ({"after": ids[2]}, [3, 4]),
            ({"after": there[0]["details"]["event_id"]}, [1, 2, 3, 4]),
            ({"after": BEGINNING}, [0, 1, 2, 3, 4]),
            ({"since": BEGINNING}, [0, 1, 2, 3, 4]),
            ({"rewind": 1}, [4]),
        ]:
            found = await within(session.call("fennec.subscription.replay", held.id, asked))
            same(found["recovered"], True)
            assert EVENT_ID.fullmatch(found["first_available"]), found
            same(await events.firsts(len(expected)), expected)
        await within(publisher.publish(topic, "live", options=TOLD))
        same(await events.firsts(1), ["live"])
        same(await refusal(session.call("fennec.subscription.replay", held.id)), "wamp.error.invalid_argument")
        same(
            await refusal(session.call("fennec.subscription.replay", 1 << 50, {"rewind": 1})),
            "wamp.error.no_such_subscription",
        )


@scenario
async def events_of_the_past_are_asked_for_as_the_specification_has_it(args):
    topic = f"log.{fresh('events')}"
    async with await connect(args) as session, await connect(args) as publisher:
        ids = await published(publisher, f"{topic}.a", 6)
        await within(publisher.publish(f"{topic}.b", "b", options=TOLD))
        exact = await within(session.subscribe(Events(), f"{topic}.a", DETAILS))
        prefix = await within(session.subscribe(Events(), topic, PREFIX))
        times = [event["timestamp"] for event in await entries(session, exact)]
        numbers = list(range(6))
        for asked, expected in [
            ({}, numbers),
            ({"limit": 6}, numbers),
            ({"reverse": True}, numbers[::-1]),
            ({"from_publication": ids[2]}, numbers[2:]),
            ({"after_publication": ids[2]}, numbers[3:]),
            ({"before_publication": ids[2]}, numbers[:2]),
            ({"until_publication": ids[2]}, numbers[:3]),
            ({"after_publication": ids[1], "until_publication": ids[3], "reverse": True}, [3, 2]),
            ({"from_time": times[2]}, [n for n in numbers if times[n] >= times[2]]),
            ({"after_time": times[2]}, [n for n in numbers if times[n] > times[2]]),
            ({"before_time": times[2]}, [n for n in numbers if times[n] < times[2]]),
            ({"until_time": times[2]}, [n for n in numbers if times[n] <= times[2]]),
        ]:
            same((asked, await past(session, exact, **asked)), (asked, (expected, False)))
        same(await past(session, exact, limit=2), ([0, 1], True))
        same(await past(session, exact, limit=2, reverse=True), ([5, 4], True))
        same(await past(session, exact, limit=3, after_publication=ids[2]), ([3, 4, 5], False))
        same(await past(session, prefix), ([*numbers, "b"], False))
        same(await past(session, prefix, topic=f"{topic}.b"), (["b"], False))
        same((await entries(session, prefix))[-1]["details"]["topic"], f"{topic}.b")
        for wrong in ({"limit": 0}, {"from_time": "soon"}, {"after_publication": 1}, {"nonsense": 1}):
            same(
                await refusal(session.call("wamp.subscription.get_events", exact.id, wrong)),
                "wamp.error.invalid_argument",
            )


@scenario
async def what_is_not_kept_any_more_is_told(args):
    with Fennec(args, SHORT) as broker:
        session = await connect(broker.ports)
        ids = await published(session, "short.a", 30)
        held = await within(session.subscribe(Events(), "short.a", DETAILS))
        left = await entries(session, held)
        # The log is tidied up now and then.
        while len(left) > 10:
            left = await entries(session, held)
        same([event["args"][0] for event in left], list(range(20, 30)))
        first = left[0]["details"]["event_id"]
        # What has been read just now may still be there for a while; not so in the next life.
        broker.restart()
        args, told = broker.ports, {"recovered": False, "first_available": first}
        async with await connect(args) as session:
            events = Events()
            held = await within(session.subscribe(events, "short.a", DETAILS))
            same(await within(session.call("fennec.subscription.replay", held.id, {"after": ids[3]})), told)
            same(await events.firsts(10), list(range(20, 30)))
            found = await within(session.call("fennec.subscription.replay", held.id, {"after": ids[19]}))
            same(found, {**told, "recovered": True})
            same(await events.firsts(10), list(range(20, 30)))
            found = await within(session.call("wamp.subscription.get_events", held.id, {"after_publication": ids[3]}))
            same((len(found.results), found.kwresults["recovered"]), (10, False))
            asking_events = Events()
            held = await within(session.subscribe_with(asking_events, "short.a", DETAILS, after=ids[3], filter={}))
            same(await asking_events.firsts(10), list(range(20, 30)))
            status = await within(session.call("fennec.subscription.status", held.id))
            same({name: status[name] for name in told}, told)
        with Device(args, MQTTv5) as device:
            same(device.subscribe("short/a", 1, properties=asking(("after", str(ids[3])))), [1])
            same(dict(device.told.UserProperty), {"recovered": "false", "first_available": first})
            same(device.texts(10), [str(number) for number in range(20, 30)])
        with EventSource(args, topic="short.a", last=str(ids[3])) as source:
            same(source.next(), ("resume", None, told))
            same([source.next()[2]["args"] for _ in range(10)], [[number] for number in range(20, 30)])


class EventSource:
    """Server-sent events, as a browser reads them."""

    def __init__(self, args, last=None, **asked):
        self.connection = http.client.HTTPConnection("127.0.0.1", args.http, timeout=PATIENCE)
        headers = {"Last-Event-ID": last} if last else {}
        self.connection.request("GET", f"/subscribe?{urlencode(asked)}", headers=headers)
        self.response = self.connection.getresponse()
        same(self.response.status, 200)

    def next(self):
        """Its kind, its id, and its data."""
        fields = {"event": "message", "id": None}
        while line := self.response.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                return fields["event"], fields["id"], json.loads(fields["data"])
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


def post(args, topic, number):
    """Publishes over HTTP; the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", args.http, timeout=PATIENCE)
    body = json.dumps({"topic": topic, "args": [number]})
    connection.request("POST", "/publish", body, {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


@scenario
def server_sent_events_go_on_behind_the_last_one(args):
    for place in [
        lambda ids: {"rewind": 3},
        lambda ids: {"last": ids[1]["event_id"]},
        lambda ids: {"last": str(ids[1]["publication"])},
        lambda ids: {"after": ids[1]["event_id"]},
        lambda ids: {"after": ids[1]["publication"]},
        # A browser that has seen more than its URL says.
        lambda ids: {"last": ids[1]["event_id"], "after": BEGINNING},
    ]:
        topic = f"log.{fresh('sse')}"
        ids = [post(args, topic, number) for number in range(5)]
        with EventSource(args, topic=topic, **place(ids)) as source:
            kind, _, told = source.next()
            same((kind, told["recovered"]), ("resume", True))
            assert told["first_available"] <= ids[0]["event_id"], told
            found = [source.next() for _ in range(3)]
            same([(kind, one["args"]) for kind, _, one in found], [("message", [number]) for number in (2, 3, 4)])
            same([event_id for _, event_id, _ in found], [one["event_id"] for one in ids[2:]])
            post(args, topic, "live")
            same(source.next()[2]["args"], ["live"])


@scenario
def a_snapshot_of_server_sent_events_ends(args):
    topic = f"log.{fresh('sse')}"
    ids = [post(args, topic, number) for number in range(3)]
    with EventSource(args, topic=topic, after=ids[0]["event_id"], snapshot="true") as source:
        same(source.next()[0], "resume")
        same([source.next()[2]["args"] for _ in range(2)], [[1], [2]])
        same(source.next(), ("end", None, {"reason": "fennec.close.snapshot_end"}))
        same(source.next(), None)


def asking(*pairs):
    return properties("subscribe", UserProperty=list(pairs))


def event_id(message):
    return dict(message.properties.UserProperty)["event_id"]


@scenario
def an_mqtt_subscription_asks_for_older_events_by_user_properties(args):
    topic, said = f"log/{fresh('mqtt')}", ["0", "1", "2", "3", "4"]
    with Device(args, MQTTv5) as publisher, Device(args, MQTTv5) as first:
        first.subscribe(topic, 1)
        for text in said:
            publisher.publish(topic, text, 1)
        ids = [event_id(first.next()) for _ in said]
        same(ids, sorted(ids))
        for pair, begin in [(("after", ids[1]), 2), (("after", BEGINNING), 0), (("rewind", "2"), -2)]:
            with Device(args, MQTTv5) as device:
                same(device.subscribe(topic, 1, properties=asking(pair)), [1])
                told = dict(device.told.UserProperty)
                same((told["recovered"], told["first_available"] <= ids[0]), ("true", True))
                same(device.texts(len(said[begin:])), said[begin:])
                publisher.publish(topic, "live", 1)
                same(device.texts(1), ["live"])
                said.append("live")
        for wrong in [("after", "soon"), ("rewind", "all"), ("snapshot", "true"), ("filter", "x")]:
            same(first.subscribe(topic, 1, properties=asking(wrong)), [0x83])


@scenario
def an_mqtt_snapshot_is_no_subscription(args):
    topic = f"log/{fresh('snapshot')}"
    with Device(args, MQTTv5) as publisher, Device(args, MQTTv5) as device:
        for number in range(5):
            publisher.publish(f"{topic}/a", str(number), 1)
        same(device.subscribe(f"{topic}/#", 1, properties=asking(("rewind", "3"), ("snapshot", "true"))), [1])
        same(dict(device.told.UserProperty)["recovered"], "true")
        same(device.texts(3), ["2", "3", "4"])
        end = device.next()
        same((end.topic, end.payload), ("fennec/close/snapshot_end", f"{topic}/#".encode()))
        same(end.properties.UserProperty, [("snapshot_end", "true")])
        device.subscribe(f"{topic}/b", 1)
        publisher.publish(f"{topic}/a", "not for it", 1)
        publisher.publish(f"{topic}/b", "for it", 1)
        same(device.texts(1), ["for it"])


@scenario
def a_filter_chooses_among_older_and_new_events(args):
    topic = f"log/{fresh('filter')}"
    with Device(args, MQTTv5) as publisher, Device(args, MQTTv5) as device:
        for number in range(6):
            publisher.publish(topic, json.dumps({"kind": "xy"[number % 2], "n": number}), 1)
        asked = asking(("filter", '{"kind":"x"}'), ("rewind", "2"))
        same(device.subscribe(topic, 1, properties=asked), [1])
        same([json.loads(text)["n"] for text in device.texts(2)], [2, 4])
        for number in (7, 8):
            publisher.publish(topic, json.dumps({"kind": "xy"[number % 2], "n": number}), 1)
        same([json.loads(text)["n"] for text in device.texts(1)], [8])


@scenario
async def a_named_subscription_survives_the_death_of_the_broker(args):
    asked = {"durable": "mine", "acknowledge": "client"}
    with Fennec(args) as broker:
        session, events = await connect(broker.ports), Events()
        held = await within(session.subscribe_with(events, "app", PREFIX, **asked))
        ids = await published(await connect(broker.ports), "app.x", 10)
        same([publication for _, publication in await events.publications(10)], ids)
        await within(session.call("fennec.subscription.ack", held.id, ids[4]))
        broker.restart()
        session, events = await connect(broker.ports), Events()
        more = await published(await connect(broker.ports), "app.y", 3)
        held = await within(session.subscribe_with(events, "app", PREFIX, **asked))
        came = [(await events.publications(1))[0][1]]
        while came[-1] != more[-1]:
            came += [publication for _, publication in await events.publications(1)]
        # How far it was is recorded a little later, so some of it may come again; all in one piece.
        assert len(came) >= 8, came
        same(came, (ids + more)[-len(came) :])
        status = await within(session.call("fennec.subscription.status", held.id))
        same((status["recovered"], status["live"]), (True, True))


class FullSpeed:
    """Two devices that publish numbers as fast as they can, below a topic of their own; the last of each is `end`."""

    COUNT = 3000

    def __init__(self, args):
        self.topic = f"log/{fresh('speed')}"
        self.uri = self.topic.replace("/", ".")
        self.devices = [Device(args, MQTTv5) for _ in range(2)]
        self.threads = [threading.Thread(target=self.publish, args=(*one,)) for one in enumerate(self.devices)]

    def publish(self, at, device):
        for number in range(self.COUNT):
            device.client.publish(f"{self.topic}/{at}/{number % 5}", f"[[{at},{number}]]", 1)
        device.publish(f"{self.topic}/{at}/end", f"[[{at},{self.COUNT}]]", 1)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread, device in zip(self.threads, self.devices):
            thread.join()
            device.leave()



class Seen:
    """What a subscriber saw of it."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.numbers, self.ends = ([], []), 0

    def add(self, event):
        """An event; `True` when all are there."""
        publisher, number = event
        self.numbers[publisher].append(number)
        self.ends += number == FullSpeed.COUNT
        return self.ends == 2

    def is_over(self):
        return self.ends == 2

    def check(self):
        """That nothing is missing, nothing is repeated, and the order of each publisher is kept."""
        for numbers in self.numbers:
            wrong = next((n for n, number in enumerate(numbers) if n != number), None)
            same((wrong, len(numbers)), (None, FullSpeed.COUNT + 1))


def pieces():
    """How many events are read before the connection is given up; in the end all."""
    yield from (1, 2, 3, 50, 300, 7, 1000, 1)
    while True:
        yield 1 << 30


@scenario
async def wamp_subscribers_resume_at_full_speed_without_gap_or_repeat(args):
    with FullSpeed(args) as speed:
        seen, after, piece = Seen(), BEGINNING, pieces()
        while not seen.is_over():
            session, events = await connect(args), Events()
            await within(session.subscribe_with(events, f"{speed.uri}..", WILDCARD, after=after))
            for _ in range(next(piece)):
                (found,), _, details = await events.next()
                after = details.publication
                if seen.add(found):
                    break
            session.cut()
            await within(session.left)
        seen.check()


@scenario
def mqtt_subscribers_resume_at_full_speed_without_gap_or_repeat(args):
    with FullSpeed(args) as speed:
        seen, after, piece = Seen(), BEGINNING, pieces()
        while not seen.is_over():
            device = Device(args, MQTTv5)
            same(device.subscribe(f"{speed.topic}/+/#", 1, properties=asking(("after", after))), [1])
            same(dict(device.told.UserProperty)["recovered"], "true")
            for _ in range(next(piece)):
                message = device.next()
                after = event_id(message)
                if seen.add(json.loads(message.payload)[0]):
                    break
            device.drop()
        seen.check()


@scenario
def server_sent_events_resume_at_full_speed_without_gap_or_repeat(args):
    with FullSpeed(args) as speed:
        seen, last, piece = Seen(), None, pieces()
        while not seen.is_over():
            # A browser asks for the same each time.
            with EventSource(args, last, topic=f"{speed.uri}..", match="wildcard", after=BEGINNING) as source:
                same(source.next()[2]["recovered"], True)
                for _ in range(next(piece)):
                    _, last, event = source.next()
                    if seen.add(event["args"][0]):
                        break
        seen.check()


@scenario
async def a_subscription_is_replayed_at_full_speed_without_gap_or_repeat(args):
    with FullSpeed(args) as speed:
        async with await connect(args) as session:
            events = Events()
            held = await within(session.subscribe(events, speed.uri, PREFIX))
            await events.next()
            first = (await entries(session, held))[0]["args"][0]
            for _ in range(5):
                await within(session.call("fennec.subscription.replay", held.id, {"since": BEGINNING}))
            seen = Seen()
            while not seen.is_over():
                (found,), _, _ = await events.next()
                if found == first:
                    # From the beginning again.
                    seen.clear()
                seen.add(found)
            seen.check()


run("transport", "serializer", "batched", "fennec")
