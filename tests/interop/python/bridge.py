"""MQTT devices by paho-mqtt and WAMP sessions by autobahn-python meet: topics, payloads, retained values and calls.

`--transport`, `--serializer` and `--batched` are those of the WAMP sessions.
"""

import asyncio
import json

from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import CallResult, PublishOptions, RegisterOptions, SubscribeOptions
from paho.mqtt.client import MQTTv311

from device import device, fresh
from tap import run, same, scenario
from wamp import Events, connect, refusal, within

TOLD = PublishOptions(acknowledge=True)
KEPT = PublishOptions(acknowledge=True, retain=True)
DETAILS = SubscribeOptions(details=True)


def names():
    """A topic nobody else uses, as MQTT and as WAMP write it."""
    name = fresh("bridge")
    return f"app/{name}/x", f"app.{name}.x"


@scenario
async def payloads_of_mqtt_become_arguments(args):
    topic, uri = names()
    cases = [
        (b'[1,"two",null]', (1, "two", None), {}),
        (b'{"args":[1],"kwargs":{"k":2}}', (1,), {"k": 2}),
        (b'{"kwargs":{"k":2}}', (), {"k": 2}),
        (b'{"a":1}', ({"a": 1},), {}),
        (b'{"args":[1],"more":2}', ({"args": [1], "more": 2},), {}),
        (b"42", (42,), {}),
        (b'"text"', ("text",), {}),
        (b"true", (True,), {}),
        ("just tëxt".encode(), ("just tëxt",), {}),
        (b"21.5 C", ("21.5 C",), {}),
        (b"\xff\x00\x01", (b"\xff\x00\x01",), {}),
        (b"", (), {}),
    ]
    async with await connect(args) as session, await device(args) as sender:
        events = Events()
        await within(session.subscribe(events, uri, DETAILS))
        for payload, expected, keyed in cases:
            await sender.publish(topic, payload, 1)
            same((payload, (await events.next())[:2]), (payload, (expected, keyed)))


@scenario
async def arguments_become_payloads_of_mqtt(args):
    topic, uri = names()
    cases = [
        ((1,), {}, 1),
        (("text",), {}, "text"),
        (({"a": [1, None, 2.5]},), {}, {"a": [1, None, 2.5]}),
        ((1, "two"), {}, [1, "two"]),
        ((), {"k": 1}, {"k": 1}),
        ((1,), {"k": 2}, {"args": [1], "kwargs": {"k": 2}}),
        (([1, 2],), {}, {"args": [[1, 2]]}),
        (({"args": [1]},), {}, {"args": [{"args": [1]}]}),
    ]
    async with await connect(args) as session, await device(args) as receiver:
        await receiver.subscribe(topic, 1)
        for positional, keyed, expected in cases:
            session.publish(uri, *positional, **keyed)
            same((positional, json.loads((await receiver.next()).payload)), (positional, expected))
        for positional, expected in [((b"\xff\x00",), b"\xff\x00"), ((), b"")]:
            session.publish(uri, *positional)
            same((await receiver.next()).payload, expected)


@scenario
async def what_went_over_mqtt_comes_back_as_it_was(args):
    topic, uri = names()
    values = [((), {}), ((1,), {}), (([],), {}), (("[1]",), {}), (({"kwargs": {}},), {}), ((1, 2), {"k": [3]})]
    async with await connect(args) as sender, await connect(args) as receiver, await device(args) as relay:
        events = Events()
        await within(receiver.subscribe(events, uri + ".back"))
        await relay.subscribe(topic, 1)
        for args_, kwargs in values:
            sender.publish(uri, *args_, **kwargs)
            await relay.publish(f"{topic}/back", (await relay.next()).payload, 1)
            same((await events.next())[:2], (args_, kwargs))


@scenario
async def topics_of_either_side_have_one_spelling_on_the_other(args):
    spellings = [("a.b/c", "a%2Eb.c"), ("a//b", "a.%.b"), ("a b/ü", "a%20b.ü"), ("a%2Fb", "a/b"), ("x/100%", "x.100%")]
    async with await connect(args) as session, await device(args) as peer:
        events = Events()
        await within(session.subscribe(events, "spelt", SubscribeOptions(match="prefix", details=True)))
        await peer.subscribe("spelt/#", 1)
        for topic, uri in spellings:
            await peer.publish(f"spelt/{topic}", "1", 1)
            same((await events.next())[2].topic, f"spelt.{uri}")
            same((await peer.next()).topic, f"spelt/{topic}")
            session.publish(f"spelt.{uri}", 1)
            same((await peer.next()).topic, f"spelt/{topic}")


@scenario
async def patterns_of_either_side_see_both(args):
    _, uri = names()
    topic = uri.replace(".", "/")
    async with await connect(args) as session, await device(args) as peer, await device(args) as sender:
        prefix, wildcard = Events(), Events()
        await within(session.subscribe(prefix, uri, SubscribeOptions(match="prefix")))
        await within(session.subscribe(wildcard, f"{uri}..c", SubscribeOptions(match="wildcard")))
        await peer.subscribe(f"{topic}/+/c", 1)
        await sender.publish(f"{topic}/a/b", '"mqtt b"', 1)
        await sender.publish(f"{topic}/a/c", '"mqtt c"', 1)
        other = await connect(args)
        await within(other.publish(f"{uri}.a.b", "wamp b", options=TOLD))
        await within(other.publish(f"{uri}.a.c", "wamp c", options=TOLD))
        same(await prefix.firsts(4), ["mqtt b", "mqtt c", "wamp b", "wamp c"])
        same(await wildcard.firsts(2), ["mqtt c", "wamp c"])
        same(await peer.texts(2), ['"mqtt c"', '"wamp c"'])
        other.leave()
        await within(other.left)


@scenario
async def the_subscription_decides_the_qos_of_what_wamp_publishes(args):
    topic, uri = names()
    async with await connect(args) as session:
        for qos in (0, 1, 2):
            async with await device(args, MQTTv311) as receiver:
                await receiver.subscribe(topic, qos)
                await within(session.publish(uri, 1, options=TOLD))
                same((await receiver.next()).qos, qos)


@scenario
async def there_is_one_retained_value_for_both(args):
    topic, uri = names()
    ask = SubscribeOptions(get_retained=True, details=True)
    async with await connect(args) as session, await device(args) as sender:
        await sender.publish(topic, '{"from":"mqtt"}', 1, retain=True)
        first = Events()
        subscription = await within(session.subscribe(first, uri, ask))
        found = await first.next()
        same((found[0], found[2].retained), (({"from": "mqtt"},), True))
        await within(subscription.unsubscribe())
        await within(session.publish(uri, {"from": "wamp"}, options=KEPT))
        async with await device(args) as late:
            await late.subscribe(topic, 1)
            message = await late.next()
            same((json.loads(message.payload), message.retain, message.qos), ({"from": "wamp"}, True, 1))
        # A retained publish without arguments clears, as one without payload does.
        await within(session.publish(uri, options=KEPT))
        async with await device(args) as late:
            await late.subscribe(topic, 1)
            await sender.publish(topic, "kept again", 1, retain=True)
            same((await late.next()).retain, False)
        await sender.publish(topic, "", 1, retain=True)
        second = Events()
        await within(session.subscribe(second, uri, ask))
        await sender.publish(topic, '"live"', 1)
        same(await second.firsts(1), ["live"])


@scenario
async def a_will_reaches_wamp_subscribers(args):
    topic, uri = names()
    async with await connect(args) as session:
        events = Events()
        await within(session.subscribe(events, uri))
        dying = await device(args, will={"topic": topic, "payload": '"gone"', "qos": 1})
        await dying.drop()
        same(await events.firsts(1), ["gone"])


@scenario
async def a_sleeping_device_finds_what_wamp_published(args):
    topic, uri = names()
    lasting = {"client_id": fresh("sleeper"), "clean": False, "SessionExpiryInterval": 600}
    async with await device(args, **lasting) as sleeper:
        await sleeper.subscribe(topic, 1)
    async with await connect(args) as session:
        for number in range(5):
            await within(session.publish(uri, number, options=TOLD))
    async with await device(args, **lasting) as sleeper:
        same(await sleeper.texts(5), ["0", "1", "2", "3", "4"])


@scenario
async def order_is_kept_across(args):
    topic, uri = names()
    async with await connect(args) as session, await device(args) as peer:
        events = Events()
        await within(session.subscribe(events, uri))
        await peer.subscribe(f"{topic}/back", 0)
        for number in range(500):
            await peer.publish(topic, str(number), 0)
        same(await events.firsts(500), list(range(500)))
        for number in range(500):
            session.publish(f"{uri}.back", number)
        same(await peer.texts(500), [str(number) for number in range(500)])


@scenario
async def a_device_calls_a_procedure(args):
    async with await connect(args) as callee, await device(args) as caller:
        answers = fresh("answers")
        await caller.subscribe(answers, 1)

        def fail():
            raise ApplicationError("com.app.failed", "why")

        await within(callee.register(lambda a, b: a + b, "com.rpc.add"))
        await within(callee.register(lambda: CallResult(1, k=2), "com.rpc.many"))
        await within(callee.register(fail, "com.rpc.fail"))

        async def call(procedure, payload, correlation):
            topic = "$rpc/" + procedure.replace(".", "/")
            await caller.publish(topic, payload, 1, ResponseTopic=answers, CorrelationData=correlation)
            answer = await caller.next()
            same((answer.topic, answer.properties.CorrelationData), (answers, correlation))
            return answer.payload, dict(getattr(answer.properties, "UserProperty", []))

        same(await call("com.rpc.add", "[2,3]", b"1"), (b"5", {}))
        payload, errors = await call("com.rpc.many", "", b"2")
        same((json.loads(payload), errors), ({"args": [1], "kwargs": {"k": 2}}, {}))
        payload, errors = await call("com.rpc.fail", "", b"3")
        same((json.loads(payload), errors["error"]), ("why", "com.app.failed"))
        same((await call("com.rpc.absent", "", b"4"))[1]["error"], "wamp.error.no_such_procedure")


@scenario
async def a_device_answers_calls(args):
    async with await connect(args) as caller, await device(args) as callee:
        same(await callee.subscribe("$rpc/com/device/double", 1), [1])
        call = caller.call("com.device.double", 21)
        request = await callee.next()
        same((request.topic, request.payload), ("$rpc/com/device/double", b"21"))
        answer = {"CorrelationData": request.properties.CorrelationData}
        await callee.publish(request.properties.ResponseTopic, "42", 1, **answer)
        same(await within(call), 42)

        call = caller.call("com.device.double", "no number")
        request = await callee.next()
        answer = {"CorrelationData": request.properties.CorrelationData, "UserProperty": ("error", "com.device.error")}
        await callee.publish(request.properties.ResponseTopic, '"no number"', 1, **answer)
        same(await refusal(call), "com.device.error")

        await callee.unsubscribe("$rpc/com/device/double")
        same(await refusal(caller.call("com.device.double", 1)), "wamp.error.no_such_procedure")


@scenario
async def a_device_that_goes_is_callee_no_more(args):
    async with await connect(args) as caller:
        callee = await device(args)
        await callee.subscribe("$rpc/com/device/gone", 1)
        call = caller.call("com.device.gone")
        await callee.next()
        await callee.leave()
        assert (await refusal(call)).startswith("wamp.error."), "no error"
        same(await refusal(caller.call("com.device.gone")), "wamp.error.no_such_procedure")


@scenario
async def a_device_calls_a_device(args):
    async with await device(args) as caller, await device(args) as callee:
        answers = fresh("answers")
        await caller.subscribe(answers, 1)
        await callee.subscribe("$rpc/com/device/echo", 1)
        await caller.publish("$rpc/com/device/echo", b"\x00\xff", 1, ResponseTopic=answers, CorrelationData=b"id")
        request = await callee.next()
        same(request.payload, b"\x00\xff")
        correlation = request.properties.CorrelationData
        await callee.publish(request.properties.ResponseTopic, b"\xff\x00", 1, CorrelationData=correlation)
        answer = await caller.next()
        same((answer.payload, answer.properties.CorrelationData), (b"\xff\x00", b"id"))


@scenario
async def a_procedure_taken_by_the_other_side_is_refused(args):
    async with await connect(args) as session, await device(args) as peer:
        await within(session.register(lambda: 1, "com.taken.wamp"))
        reasons = await peer.subscribe("$rpc/com/taken/wamp", 1)
        assert reasons[0] >= 0x80, reasons
        same(await peer.subscribe("$rpc/com/taken/mqtt", 1), [1])
        same(await refusal(session.register(lambda: 1, "com.taken.mqtt")), "wamp.error.procedure_already_exists")
        options = RegisterOptions(match="prefix")
        await within(session.register(lambda: 1, "com.taken", options))


@scenario
async def reserved_topics_are_refused_from_outside(args):
    async with await device(args) as peer:
        for topic in ("wamp/x", "fennec/x", "$SYS/x", "$other"):
            reasons = []
            peer.device.client.on_publish = lambda _c, _u, _mid, reason, _p: reasons.append(reason.value)
            await peer.publish(topic, "x", 1)
            same((topic, reasons), (topic, [0x87]))


if __name__ == "__main__":
    run("transport", "serializer", "batched")
