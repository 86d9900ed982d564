"""Users with passwords, tickets and challenges, and what their roles allow, by paho-mqtt and autobahn-python.

The broker knows `alice` (`--alice`, her password), who may do everything, and `sensor` (`--sensor`), whose role may
publish to `sensors/#` and subscribe to `commands/#`, and nobody else.
"""

from autobahn.wamp import auth
from paho.mqtt.client import MQTTv5, MQTTv311

from device import Device, fresh
from tap import run, same, scenario
from wamp import Events, connect, refusal, within
from autobahn.wamp.types import PublishOptions, SubscribeOptions

TOLD = PublishOptions(acknowledge=True)


def device(args, name, password, protocol=MQTTv5, **options):
    return Device(args, protocol, login=(name, password), **options)


def refused(make):
    """The reason code of the refusal that must come."""
    try:
        with make():
            raise AssertionError("not refused")
    except ConnectionRefusedError as error:
        return error.args[0]


def by_ticket(args, name, ticket):
    return connect(args, authmethods=["ticket"], authid=name, secret=lambda _challenge: ticket)


def by_challenge(args, name, secret):
    def signature(challenge):
        extra = challenge.extra
        key = secret.encode()
        if extra.get("salt"):
            key = auth.derive_key(secret, extra["salt"], extra["iterations"], extra["keylen"])
        return auth.compute_wcs(key, extra["challenge"]).decode()

    return connect(args, authmethods=["wampcra"], authid=name, secret=signature)


@scenario
def a_device_needs_its_password(args):
    with device(args, "alice", args.alice):
        pass
    with device(args, "alice", args.alice, MQTTv311):
        pass
    same(refused(lambda: device(args, "alice", "wrong")), 0x86)
    same(refused(lambda: device(args, "nobody", args.alice)), 0x86)
    assert refused(lambda: Device(args, MQTTv5)) in (0x86, 0x87)
    assert refused(lambda: Device(args, MQTTv311)) >= 0x80


@scenario
async def a_session_needs_its_ticket(args):
    async with await by_ticket(args, "alice", args.alice) as session:
        details = session.joined.result()
        same((details.authid, details.authmethod, details.authrole), ("alice", "ticket", "owner"))
    for name, ticket in [("alice", "wrong"), ("nobody", args.alice)]:
        same(await refusal(by_ticket(args, name, ticket)), "wamp.error.authentication_failed")


@scenario
async def a_session_needs_to_answer_its_challenge(args):
    async with await by_challenge(args, "alice", args.alice) as session:
        details = session.joined.result()
        same((details.authid, details.authmethod, details.authrole), ("alice", "wampcra", "owner"))
    for name, secret in [("alice", "wrong"), ("nobody", args.alice)]:
        same(await refusal(by_challenge(args, name, secret)), "wamp.error.authentication_failed")


@scenario
async def nobody_comes_in_without_a_name(args):
    assert (await refusal(connect(args))).startswith("wamp.error."), "no error"


@scenario
def the_role_of_a_device_decides_what_it_may_do(args):
    reasons = []
    with device(args, "sensor", args.sensor) as sensor, device(args, "alice", args.alice) as owner:
        sensor.client.on_publish = lambda _c, _u, _mid, reason, _p: reasons.append(reason.value)
        owner.subscribe("#", 1)
        sensor.publish("sensors/one", "21", 1)
        sensor.publish("elsewhere", "no", 1)
        sensor.publish("sensors/two", "22", 1)
        same(reasons[1], 0x87)
        same(owner.texts(2), ["21", "22"])
        same(sensor.subscribe("commands/one", 1), [1])
        same(sensor.subscribe("sensors/#", 1), [0x87])


@scenario
async def the_role_of_a_session_decides_what_it_may_do(args):
    async with await by_ticket(args, "sensor", args.sensor) as sensor:
        await within(sensor.publish("sensors.one", 21, options=TOLD))
        same(await refusal(sensor.publish("elsewhere", 1, options=TOLD)), "wamp.error.not_authorized")
        same(await refusal(sensor.subscribe(Events(), "sensors.one")), "wamp.error.not_authorized")
        same(await refusal(sensor.call("com.any")), "wamp.error.not_authorized")
        same(await refusal(sensor.register(lambda: 1, "com.any")), "wamp.error.not_authorized")
        await within(sensor.subscribe(Events(), "commands.one"))


@scenario
async def a_publisher_is_known_by_its_name(args):
    async with await by_ticket(args, "alice", args.alice) as one, await by_ticket(args, "alice", args.alice) as other:
        events, topic = Events(), fresh("com.lists")
        await within(one.subscribe(events, topic, SubscribeOptions(details=True)))
        left_out = PublishOptions(acknowledge=True, exclude_authid=["alice"])
        chosen = PublishOptions(acknowledge=True, eligible_authid=["alice"], eligible_authrole="owner")
        await within(other.publish(topic, "left out", options=left_out))
        await within(other.publish(topic, "chosen", options=chosen))
        same(await events.firsts(1), ["chosen"])


if __name__ == "__main__":
    run("transport", "serializer", "batched", "alice", "sensor")
