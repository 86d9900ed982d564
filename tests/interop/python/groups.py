"""Consumer groups: shared subscriptions of paho-mqtt, and groups of autobahn-python.

`--transport` and `--serializer` are those of the WAMP sessions, `--fennec` is the program of the broker.
"""

import asyncio
import json
import queue
import threading

from autobahn.wamp.types import PublishOptions, SubscribeOptions
from paho.mqtt.client import MQTTv5

from device import Device, device, fresh, properties
from fennec import Fennec
from tap import PATIENCE, run, same, scenario
from wamp import Events, connect, within

DETAILS = SubscribeOptions(details=True)
TOLD = PublishOptions(acknowledge=True)
DURABLE = "[[durable]]\ntopic = 'log/#'\n"


def kept(args, client_id=None, **options):
    """A device whose session outlives its connection."""
    return Device(args, MQTTv5, client_id or fresh("kept"), clean=False, SessionExpiryInterval=600, **options)


def share(member, name, topic, qos=1, **asked):
    """Joins a group, and says how it is to work."""
    pairs = [(key, str(value)) for key, value in asked.items()]
    told = {"properties": properties("subscribe", UserProperty=pairs)} if pairs else {}
    same(member.subscribe(f"$share/{name}/{topic}", qos, **told), [qos])


class Gathered:
    """What several devices are sent, in the order in which it came: who got what."""

    def __init__(self, **devices):
        self.queue = queue.Queue()
        for name, one in devices.items():
            self.add(name, one)

    def add(self, name, one):
        one.client.on_message = lambda _c, _u, message: self.queue.put((name, message))

    def take(self, count):
        """The names and payloads of the next `count`."""
        found = [self.queue.get(timeout=PATIENCE) for _ in range(count)]
        return [(name, message.payload.decode()) for name, message in found]


def texts(count):
    return [str(number) for number in range(count)]


@scenario
def each_event_goes_to_one_member_of_an_mqtt_group(args):
    topic = fresh("shared")
    with kept(args) as one, kept(args) as other, Device(args, MQTTv5) as publisher:
        gathered = Gathered(one=one, other=other)
        share(one, "g", topic)
        share(other, "g", topic)
        for text in texts(40):
            publisher.publish(topic, text, 1)
        found = gathered.take(40)
        same(sorted(text for _, text in found), sorted(texts(40)))
        same({name for name, _ in found}, {"one", "other"})
        for name in ("one", "other"):
            mine = [int(text) for who, text in found if who == name]
            same(mine, sorted(mine))
        # Nothing came twice.
        publisher.publish(topic, "end", 1)
        same([text for _, text in gathered.take(1)], ["end"])


@scenario
def what_a_member_leaves_behind_that_is_cut_off_goes_to_another(args):
    topic = fresh("shared")
    with kept(args, manual_ack=True) as one, kept(args) as other, Device(args, MQTTv5) as publisher:
        share(one, "g", topic)
        for text in texts(6):
            publisher.publish(topic, text, 1)
        messages = [one.next() for _ in range(6)]
        same([message.payload.decode() for message in messages], texts(6))
        one.client.ack(messages[1].mid, 1)
        # Its acknowledgement comes behind that of the message.
        one.publish(fresh("behind"), "it", 1)
        share(other, "g", topic)
        one.drop()
        same(other.texts(5), ["0", "2", "3", "4", "5"])
        one.connect()
        publisher.publish(topic, "6", 1)
        publisher.publish(topic, "7", 1)
        same(sorted(one.texts(1) + other.texts(1)), ["6", "7"])


@scenario
def events_wait_for_a_group_of_which_nobody_is_there(args):
    topic, client_id = fresh("shared"), fresh("kept")
    with Device(args, MQTTv5) as publisher:
        with kept(args, client_id) as member:
            share(member, "g", topic)
        for text in texts(20):
            publisher.publish(topic, text, 1)
        with kept(args, client_id) as member:
            same(member.texts(20), texts(20))


@scenario
def who_takes_too_long_loses_the_event_to_another(args):
    topic = fresh("shared")
    with kept(args, manual_ack=True) as slow, kept(args) as other, Device(args, MQTTv5) as publisher:
        share(slow, "g", topic, ack_timeout=300)
        publisher.publish(topic, "work", 1)
        message = slow.next()
        share(other, "g", topic, ack_timeout=300)
        same(other.texts(1), ["work"])
        # Too late, and no harm.
        slow.client.ack(message.mid, 1)
        publisher.publish(topic, "a", 1)
        publisher.publish(topic, "b", 1)
        same(sorted(other.texts(2)), ["a", "b"])


@scenario
def what_nobody_is_done_with_becomes_a_dead_letter_that_tells_what_it_was(args):
    topic, dead = fresh("shared/jobs"), fresh("dead")
    with kept(args, manual_ack=True) as member, Device(args, MQTTv5) as watcher, Device(args, MQTTv5) as publisher:
        watcher.subscribe(dead, 1)
        share(member, "g", "shared/#", ack_timeout=200, deliveries_max=2, dead_letter_topic=dead)
        said = {"UserProperty": [("a", "1"), ("a", "2")], "ContentType": "text/plain", "CorrelationData": b"\x00\x01"}
        publisher.publish(topic, "poison", 1, **said)
        deliveries = [member.next() for _ in range(2)]
        same([message.payload for message in deliveries], [b"poison"] * 2)
        event_id = dict(deliveries[0].properties.UserProperty)["event_id"]
        letter = watcher.next()
        same((letter.topic, letter.payload), (dead, b"poison"))
        own = [pair for pair in letter.properties.UserProperty if pair[0] != "event_id"]
        same(
            own,
            [
                ("a", "1"),
                ("a", "2"),
                ("fennec-dead-topic", topic),
                ("fennec-dead-event-id", event_id),
                ("fennec-dead-attempts", "2"),
                ("fennec-dead-group", "$share/g/shared/#"),
            ],
        )
        same((letter.properties.ContentType, letter.properties.CorrelationData), ("text/plain", b"\x00\x01"))
        # It is done with: the member is sent what comes next, and not this again.
        publisher.publish(topic, "next", 1)
        same(member.texts(1), ["next"])


@scenario
def events_of_one_key_are_under_way_one_at_a_time(args):
    topic = fresh("shared")
    with (
        kept(args, manual_ack=True) as one,
        kept(args, manual_ack=True) as other,
        Device(args, MQTTv5) as publisher,
    ):
        gathered = Gathered(one=one, other=other)
        members = {"one": one, "other": other}
        for member in members.values():
            share(member, "g", topic, order_by="device")
        for number in range(6):
            publisher.publish(topic, json.dumps({"device": "ab"[number % 2], "n": number}), 1)
        under_way, came = [], {"a": [], "b": []}
        for _ in range(6):
            name, message = gathered.queue.get(timeout=PATIENCE)
            event = json.loads(message.payload)
            assert event["device"] not in [one[0] for one in under_way], f"{event} came before its turn"
            came[event["device"]].append(event["n"])
            under_way.append((event["device"], name, message.mid))
            if len(under_way) == 2:
                _, name, mid = under_way.pop(0)
                members[name].client.ack(mid, 1)
        same(came, {"a": [0, 2, 4], "b": [1, 3, 5]})


@scenario
async def each_event_goes_to_one_member_of_a_wamp_group(args):
    name = fresh("shared")
    asked = {"durable": name, "group": True, "acknowledge": "client"}
    async with await connect(args) as one, await connect(args) as other, await connect(args) as publisher:
        members, events = (one, other), (Events(), Events())
        held = [
            await within(member.subscribe_with(seen, f"app.{name}", DETAILS, **asked))
            for member, seen in zip(members, events)
        ]
        ids = [(await within(publisher.publish(f"app.{name}", n, options=TOLD))).id for n in range(10)]
        found = [await seen.publications(5) for seen in events]
        same(sorted(found[0] + found[1]), list(enumerate(ids)))
        for member, subscription, mine in zip(members, held, found):
            for _, publication in mine:
                same(await within(member.call("fennec.subscription.ack", subscription.id, publication)), True)
        status = await within(one.call("fennec.subscription.status", held[0].id))
        same((status["group"], status["acknowledge"]), (name, "client"))


@scenario
async def what_a_wamp_member_has_not_acknowledged_goes_to_another(args):
    name = fresh("shared")
    asked = {"group": name, "acknowledge": "client"}
    async with await connect(args) as publisher, await connect(args) as other:
        one, mine, others = await connect(args), Events(), Events()
        held = await within(one.subscribe_with(mine, f"app.{name}", DETAILS, **asked))
        for number in range(4):
            await within(publisher.publish(f"app.{name}", number, options=TOLD))
        found = await mine.publications(4)
        await within(one.call("fennec.subscription.ack", held.id, found[1][1]))
        await within(other.subscribe_with(others, f"app.{name}", DETAILS, **asked))
        one.cut()
        await within(one.left)
        same(await others.firsts(3), [0, 2, 3])


@scenario
async def a_group_without_acknowledgements_is_done_with_what_was_sent(args):
    name = fresh("shared")
    async with await connect(args) as publisher:
        one, mine = await connect(args), Events()
        await within(one.subscribe_with(mine, f"app.{name}", DETAILS, durable=name, group=True))
        for number in range(4):
            await within(publisher.publish(f"app.{name}", number, options=TOLD))
        same(await mine.firsts(4), [0, 1, 2, 3])
        one.cut()
        await within(one.left)
        for number in range(4, 8):
            await within(publisher.publish(f"app.{name}", number, options=TOLD))
        async with await connect(args) as other:
            others = Events()
            await within(other.subscribe_with(others, f"app.{name}", DETAILS, durable=name, group=True))
            same(await others.firsts(4), [4, 5, 6, 7])


@scenario
async def a_wamp_group_has_time_limits_dead_letters_and_order(args):
    name = fresh("shared")
    asked = {
        "durable": name,
        "group": True,
        "acknowledge": "client",
        "ack_timeout": 200,
        "deliveries_max": 3,
        "dead_letter_topic": f"dead.{name}",
        "order_by": "key",
        "window": 10,
    }
    async with await connect(args) as member, await connect(args) as publisher, await device(args) as watcher:
        await watcher.subscribe(f"dead/{name}", 1)
        events = Events()
        await within(member.subscribe_with(events, f"app.{name}", DETAILS, **asked))
        published = await within(publisher.publish(f"app.{name}", "first", key="k", options=TOLD))
        await within(publisher.publish(f"app.{name}", "second", key="k", options=TOLD))
        # The second waits for the first, whatever becomes of that.
        same(await events.firsts(4), ["first", "first", "first", "second"])
        letter = await watcher.next()
        same(json.loads(letter.payload), {"args": ["first"], "kwargs": {"key": "k"}})
        told = dict(letter.properties.UserProperty)
        same((told["fennec-dead-topic"], told["fennec-dead-attempts"]), (f"app/{name}", "3"))
        same(told["fennec-dead-group"], name)
        assert published.id


@scenario
async def groups_of_either_protocol_each_get_all(args):
    name = fresh("shared")
    asked = {"durable": name, "group": True, "acknowledge": "client"}
    async with await connect(args) as session, await connect(args) as publisher:
        events = Events()
        with kept(args) as member:
            await asyncio.to_thread(share, member, name, f"app/{name}")
            held = await within(session.subscribe_with(events, f"app.{name}", DETAILS, **asked))
            for number in range(10):
                await within(publisher.publish(f"app.{name}", number, options=TOLD))
            same(await asyncio.to_thread(member.texts, 10), texts(10))
            found = await events.publications(10)
            same([number for number, _ in found], list(range(10)))
            for _, publication in found:
                await within(session.call("fennec.subscription.ack", held.id, publication))
            # What a device publishes, too.
            await asyncio.to_thread(member.publish, f"app/{name}", "10", 1)
            same(await asyncio.to_thread(member.texts, 1), ["10"])
            same(await events.firsts(1), [10])


class Working:
    """Members of a group over MQTT that acknowledge what they have noted."""

    def __init__(self, broker):
        self.broker, self.done, self.lock = broker, [], threading.Condition()
        self.members = [kept(broker.ports) for _ in range(2)]
        for member in self.members:
            member.client.on_message = self.work
            share(member, "g", "log/#")

    def work(self, _client, _user, message):
        with self.lock:
            self.done.append(message.payload.decode())
            self.lock.notify_all()

    def wait_for(self, is_so):
        with self.lock:
            assert self.lock.wait_for(lambda: is_so(self.done), PATIENCE), f"{len(self.done)} events came"


@scenario
def nothing_acknowledged_is_lost_to_a_group_when_the_broker_is_killed(args):
    """Two members, one that never acknowledges, and a publisher in full flight; the broker is killed four times."""
    quarter, lives = 1000, 4
    with Fennec(args, DURABLE) as broker:
        working = Working(broker)
        holder = kept(broker.ports, manual_ack=True)
        share(holder, "held", "log/#")
        publisher, texts_by_mid, acknowledged = kept(broker.ports), {}, []
        publisher.client.on_publish = lambda _c, _u, mid, _r, _p: acknowledged.append(mid)
        for life in range(lives):
            for number in range(life * quarter, (life + 1) * quarter):
                sent = publisher.client.publish(f"log/{number % 3}", str(number), 1)
                texts_by_mid[sent.mid] = str(number)
            working.wait_for(lambda done, enough=life * quarter + quarter // 5: len(done) >= enough)
            broker.restart()
            for one in (publisher, holder, *working.members):
                one.follow(broker.ports)
        working.wait_for(lambda done: len(set(done)) == lives * quarter)
        same(set(working.done), set(texts(lives * quarter)))
        assert {texts_by_mid[mid] for mid in acknowledged} <= set(working.done)
        # Who acknowledges nothing is sent the same in each life of the broker.
        window = 64
        held = [message.payload.decode() for message in (holder.next() for _ in range(window * (lives + 1)))]
        same([held[at * window : (at + 1) * window] for at in range(lives + 1)], [held[:window]] * (lives + 1))
        for one in (publisher, holder, *working.members):
            one.leave()


@scenario
async def a_wamp_group_goes_on_when_the_broker_was_killed(args):
    asked = {"durable": "workers", "group": True, "acknowledge": "client", "match": "prefix"}
    with Fennec(args, DURABLE) as broker:
        published, done, undone = [], set(), set()

        async def join(seen):
            session = await connect(broker.ports)
            return session, await within(session.subscribe_with(seen, "log", DETAILS, **asked))

        one, other = Events(), Events()
        await join(one)
        session, held = await join(other)
        publisher = await connect(broker.ports)
        for number in range(20):
            published.append((await within(publisher.publish(f"log.{number % 3}", number, options=TOLD))).id)
        undone = {publication for _, publication in await one.publications(10)}
        for _, publication in await other.publications(10):
            await within(session.call("fennec.subscription.ack", held.id, publication))
            done.add(publication)
        same(sorted(undone | done), sorted(published))
        broker.restart()
        again = Events()
        session, held = await join(again)
        publisher = await connect(broker.ports)
        last = (await within(publisher.publish("log.end", "end", options=TOLD))).id
        came = set()
        while last not in came:
            (_, publication), *_ = await again.publications(1)
            await within(session.call("fennec.subscription.ack", held.id, publication))
            came.add(publication)
        # What was acknowledged just before may come again, what was not must.
        assert undone <= came, undone - came
        assert came <= set(published) | {last}


run("transport", "serializer", "batched", "fennec")
