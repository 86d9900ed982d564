"""The meta API as autobahn-python sees it, with clients of paho-mqtt in it."""

import asyncio

from autobahn.wamp.types import SubscribeOptions
from paho.mqtt.client import MQTTv5

from device import Device, device, fresh
from tap import PATIENCE, run, same, scenario
from wamp import Events, connect, refusal, within

DETAILS = SubscribeOptions(details=True)


@scenario
async def an_mqtt_client_is_a_session_that_joins_is_told_about_and_leaves(args):
    client_id = fresh("lamp")
    async with await connect(args) as session:
        joined, left = Events(), Events()
        await within(session.subscribe(joined, "wamp.session.on_join", DETAILS))
        await within(session.subscribe(left, "wamp.session.on_leave", DETAILS))
        async with await device(args, client_id=client_id):
            (told,), _, _ = await joined.next()
            same((told["client_id"], told["protocol"], told["authid"]), (client_id, "mqtt", "anonymous"))
            assert told["transport"]["peer"].startswith("127.0.0.1:"), told
            same(await within(session.call("wamp.session.count")), 2)
            assert told["session"] in await within(session.call("wamp.session.list"))
            same(await within(session.call("wamp.session.get", told["session"])), told)
        same((await left.next())[0], (told["session"], "anonymous", "anonymous"))
        same(await refusal(session.call("wamp.session.get", told["session"])), "wamp.error.no_such_session")


@scenario
async def an_mqtt_client_is_killed_and_told_why(args):
    async with await connect(args) as session:
        joined, left = Events(), Events()
        await within(session.subscribe(joined, "wamp.session.on_join", DETAILS))
        await within(session.subscribe(left, "wamp.session.on_leave", DETAILS))
        one = await asyncio.to_thread(Device, args, MQTTv5)
        told = []
        one.client.on_disconnect = lambda _c, _u, flags, reason, props: one.ends.put(
            (flags.is_disconnect_packet_from_server, reason.value, getattr(props, "ReasonString", None))
        )
        (joined_as,), _, _ = await joined.next()
        killed = session.call("wamp.session.kill", joined_as["session"], reason="app.over", message="go away")
        same(await within(killed), None)
        told = await asyncio.to_thread(one.ends.get, timeout=PATIENCE)
        same(told, (True, 0x98, "go away"))
        same((await left.next())[0][0], joined_as["session"])
        await asyncio.to_thread(one.client.loop_stop)


@scenario
async def a_wamp_session_is_killed_with_the_reason_that_was_given(args):
    async with await connect(args) as session:
        other = await connect(args)
        number = other.joined.result().session
        same(await within(session.call("wamp.session.kill", number, reason="app.over", message="go")), None)
        details = await within(other.left)
        same((details.reason, details.message), ("app.over", "go"))
        same(await refusal(session.call("wamp.session.kill", number)), "wamp.error.no_such_session")
        same(await refusal(session.call("wamp.session.kill", "x")), "wamp.error.invalid_argument")


@scenario
async def registrations_and_subscriptions_are_seen(args):
    topic = fresh("app")
    async with await connect(args) as session, await connect(args) as other:
        mine = session.joined.result().session
        created, deleted = Events(), Events()
        await within(other.subscribe(created, "wamp.registration.on_create", DETAILS))
        await within(other.subscribe(deleted, "wamp.subscription.on_delete", DETAILS))
        registration = await within(session.register(lambda: 1, topic))
        (who, about), _, _ = await created.next()
        same((who, about["id"], about["uri"], about["invoke"]), (mine, registration.id, topic, "single"))
        same(await within(other.call("wamp.registration.lookup", topic)), registration.id)
        same(await within(other.call("wamp.registration.list_callees", registration.id)), [mine])
        subscription = await within(session.subscribe(Events(), topic))
        same(await within(other.call("wamp.subscription.match", topic)), [subscription.id])
        async with await device(args) as one:
            same(await one.subscribe(topic.replace(".", "/"), 1), [1])
            same(await within(other.call("wamp.subscription.count_subscribers", subscription.id)), 2)
        await within(subscription.unsubscribe())
        same((await deleted.next())[0][1], subscription.id)


run("transport", "serializer", "batched")
