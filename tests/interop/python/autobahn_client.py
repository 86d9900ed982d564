"""WAMP by autobahn-python: `--transport ws` or `rs`, `--serializer json`, `msgpack` or `cbor`, `--batched yes`."""

import asyncio
import json

from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import (
    CallOptions,
    CallResult,
    EncodedPayload,
    PublishOptions,
    RegisterOptions,
    SubscribeOptions,
)

from tap import run, same, scenario
from wamp import Events, connect, refusal, within

DETAILS = SubscribeOptions(details=True)
TOLD = PublishOptions(acknowledge=True)


@scenario
async def a_session_joins_its_realm_and_leaves_it(args):
    session = await connect(args)
    details = session.joined.result()
    same((details.realm, details.authmethod), ("realm1", "anonymous"))
    assert details.session > 0 and details.authrole, details
    session.leave()
    same((await within(session.left)).reason, "wamp.close.goodbye_and_out")


@scenario
async def two_sessions_have_different_ids(args):
    async with await connect(args) as one, await connect(args) as other:
        assert one.joined.result().session != other.joined.result().session


@scenario
async def an_unknown_realm_is_refused(args):
    same(await refusal(connect(args, "no.such.realm.here")), "wamp.error.no_such_realm")


@scenario
async def events_reach_exact_prefix_and_wildcard_subscriptions(args):
    async with await connect(args) as subscriber, await connect(args) as publisher:
        exact, prefix, wildcard = Events(), Events(), Events()
        await within(subscriber.subscribe(exact, "com.app.topic.a", DETAILS))
        await within(subscriber.subscribe(prefix, "com.app", SubscribeOptions(match="prefix", details=True)))
        await within(subscriber.subscribe(wildcard, "com..topic.", SubscribeOptions(match="wildcard", details=True)))
        for topic in ("com.app.topic.a", "com.app.topic.b", "com.other.topic.c", "com.other.b", "com.app.x.y.z"):
            await within(publisher.publish(topic, topic, options=TOLD))
        same(await exact.firsts(1), ["com.app.topic.a"])
        found = [await prefix.next() for _ in range(3)]
        same([event[0][0] for event in found], ["com.app.topic.a", "com.app.topic.b", "com.app.x.y.z"])
        # The details of a pattern's event say the topic.
        same([event[2].topic for event in found], ["com.app.topic.a", "com.app.topic.b", "com.app.x.y.z"])
        same(await wildcard.firsts(3), ["com.app.topic.a", "com.app.topic.b", "com.other.topic.c"])


@scenario
async def payloads_of_every_kind_arrive_as_they_were(args):
    values = [
        (),
        (1, -1, 0, 2**31, 2**53, -(2**53)),
        (1.5, -0.25, 1e300),
        (True, False, None, ""),
        ("ünïcödé \U0001f98a", "\n\t\"\\", "a" * 70_000),
        ([1, [2, [3, []]]], {"a": {"b": [None, {}]}}),
        (b"\x00\x01\xfe\xff", b""),
    ]
    async with await connect(args) as subscriber, await connect(args) as publisher:
        events = Events()
        await within(subscriber.subscribe(events, "com.payload", DETAILS))
        for value in values:
            publisher.publish("com.payload", *value)
            same((await events.next())[:2], (value, {}))
        publisher.publish("com.payload", key="value", other=[1])
        same((await events.next())[:2], ((), {"key": "value", "other": [1]}))
        publisher.publish("com.payload", 1, key=2)
        same((await events.next())[:2], ((1,), {"key": 2}))


@scenario
async def an_acknowledged_publish_has_the_id_of_its_event(args):
    async with await connect(args) as subscriber, await connect(args) as publisher:
        events = Events()
        await within(subscriber.subscribe(events, "com.ack", DETAILS))
        publication = await within(publisher.publish("com.ack", 1, options=TOLD))
        same((await events.next())[2].publication, publication.id)


@scenario
async def the_publisher_is_left_out_unless_it_asks(args):
    async with await connect(args) as session:
        events = Events()
        await within(session.subscribe(events, "com.me"))
        await within(session.publish("com.me", "left out", options=TOLD))
        await within(session.publish("com.me", "asked", options=PublishOptions(acknowledge=True, exclude_me=False)))
        same(await events.firsts(1), ["asked"])


@scenario
async def black_and_white_lists_choose_the_receivers(args):
    async with await connect(args) as one, await connect(args) as other, await connect(args) as publisher:
        first, second = Events(), Events()
        await within(one.subscribe(first, "com.lists"))
        await within(other.subscribe(second, "com.lists"))
        ids = [session.joined.result().session for session in (one, other)]
        role = one.joined.result().authrole
        for text, options in [
            ("second", {"exclude": ids[0]}),
            ("first", {"eligible": [ids[0]]}),
            ("nobody: both lists", {"eligible": ids, "exclude": ids}),
            ("nobody: role excluded", {"exclude_authrole": [role]}),
            ("nobody: another role", {"eligible_authrole": ["no role"]}),
            ("nobody: an empty list", {"eligible": []}),
            ("second", {"eligible_authrole": [role], "exclude_authid": [one.joined.result().authid]}),
            ("both", {"eligible_authrole": role}),
        ]:
            await within(publisher.publish("com.lists", text, options=PublishOptions(acknowledge=True, **options)))
        # The two sessions share an authid if the broker gives all anonymous ones the same.
        shared = one.joined.result().authid == other.joined.result().authid
        same(await first.firsts(2), ["first", "both"])
        same(await second.firsts(2 if shared else 3), ["second", *([] if shared else ["second"]), "both"])


@scenario
async def nothing_comes_after_an_unsubscribe(args):
    async with await connect(args) as subscriber, await connect(args) as publisher:
        gone, end = Events(), Events()
        subscription = await within(subscriber.subscribe(gone, "com.gone"))
        await within(subscriber.subscribe(end, "com.end"))
        await within(subscription.unsubscribe())
        publisher.publish("com.gone", 1)
        publisher.publish("com.end", 2)
        same(await end.firsts(1), [2])
        assert gone.queue.empty()


@scenario
async def invalid_uris_and_reserved_topics_are_refused(args):
    async with await connect(args) as session:
        same(await refusal(session.publish("wamp.mine", 1, options=TOLD)), "wamp.error.not_authorized")
        same(await refusal(session.publish("fennec.mine", 1, options=TOLD)), "wamp.error.not_authorized")
        same(await refusal(session.register(lambda: 1, "wamp.mine")), "wamp.error.not_authorized")


@scenario
async def a_retained_event_comes_to_those_who_ask_for_it(args):
    keep = PublishOptions(acknowledge=True, retain=True)
    async with await connect(args) as publisher, await connect(args) as subscriber:
        await within(publisher.publish("com.kept.a", "old", options=keep))
        await within(publisher.publish("com.kept.a", "new", key=1, options=keep))
        await within(publisher.publish("com.kept.b", "other", options=keep))
        asked, not_asked, pattern = Events(), Events(), Events()
        await within(subscriber.subscribe(asked, "com.kept.a", SubscribeOptions(get_retained=True, details=True)))
        args_, kwargs, details = await asked.next()
        same((args_, kwargs, details.retained), (("new",), {"key": 1}, True))
        await within(subscriber.subscribe(not_asked, "com.kept.b", DETAILS))
        await within(publisher.publish("com.kept.b", "live", options=TOLD))
        args_, _, details = await not_asked.next()
        same((args_, details.retained or False), (("live",), False))
        options = SubscribeOptions(match="prefix", get_retained=True, details=True)
        await within(subscriber.subscribe(pattern, "com.kept", options))
        same(sorted(await pattern.firsts(2)), ["new", "other"])


@scenario
async def a_call_brings_back_the_result(args):
    async with await connect(args) as callee, await connect(args) as caller:
        await within(callee.register(lambda a, b=0: a + b, "com.add"))
        await within(callee.register(lambda: CallResult(1, 2, three=3), "com.many"))
        await within(callee.register(lambda: None, "com.nothing"))
        await within(callee.register(lambda blob: blob[::-1], "com.reverse"))
        same(await within(caller.call("com.add", 2)), 2)
        same(await within(caller.call("com.add", 2, b=3)), 5)
        many = await within(caller.call("com.many"))
        same((many.results, many.kwresults), ((1, 2), {"three": 3}))
        same(await within(caller.call("com.nothing")), None)
        same(await within(caller.call("com.reverse", b"\x00\x01\xff")), b"\xff\x01\x00")
        large = "x" * 1_000_000
        same(await within(caller.call("com.reverse", large)), large)


@scenario
async def many_calls_can_be_under_way(args):
    async with await connect(args) as callee, await connect(args) as caller:
        gate = asyncio.Event()

        async def later(number):
            await gate.wait()
            return number

        await within(callee.register(later, "com.later"))
        calls = [caller.call("com.later", number) for number in range(300)]
        gate.set()
        same(await within(asyncio.gather(*calls)), list(range(300)))


@scenario
async def errors_of_the_callee_reach_the_caller_whole(args):
    def fail():
        raise ApplicationError("com.app.error", 1, "two", three=3)

    async with await connect(args) as callee, await connect(args) as caller:
        await within(callee.register(fail, "com.fail"))
        try:
            await within(caller.call("com.fail"))
            raise AssertionError("no error")
        except ApplicationError as error:
            same((error.error, error.args, error.kwargs), ("com.app.error", (1, "two"), {"three": 3}))


@scenario
async def procedures_come_and_go(args):
    async with await connect(args) as callee, await connect(args) as caller:
        same(await refusal(caller.call("com.absent")), "wamp.error.no_such_procedure")
        registration = await within(callee.register(lambda: 1, "com.once"))
        same(await refusal(caller.register(lambda: 2, "com.once")), "wamp.error.procedure_already_exists")
        same(await within(caller.call("com.once")), 1)
        await within(registration.unregister())
        same(await refusal(caller.call("com.once")), "wamp.error.no_such_procedure")


@scenario
async def a_session_that_leaves_takes_its_registrations_and_calls_along(args):
    async with await connect(args) as caller:
        callee = await connect(args)
        called = asyncio.Event()

        async def never():
            called.set()
            await asyncio.Event().wait()

        await within(callee.register(never, "com.never"))
        call = caller.call("com.never")
        await within(called.wait())
        callee.leave()
        same(await refusal(call), "wamp.error.canceled")
        same(await refusal(caller.call("com.never")), "wamp.error.no_such_procedure")


@scenario
async def progressive_results_come_before_the_last_one(args):
    async def count(number, details):
        for step in range(number):
            details.progress(step)
        return "done"

    async with await connect(args) as callee, await connect(args) as caller:
        await within(callee.register(count, "com.count", RegisterOptions(details=True)))
        steps = []
        found = caller.call("com.count", 50, options=CallOptions(on_progress=steps.append))
        same(await within(found), "done")
        same(steps, list(range(50)))


@scenario
async def a_cancelled_call_interrupts_the_callee(args):
    async with await connect(args) as callee, await connect(args) as caller:
        started, interrupted = asyncio.Event(), asyncio.Event()

        async def slow():
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                interrupted.set()
                raise

        await within(callee.register(slow, "com.slow"))
        await within(callee.register(lambda: "alive", "com.alive"))
        call = caller.call("com.slow")
        await within(started.wait())
        call.cancel()
        await within(interrupted.wait())
        same(await within(caller.call("com.alive")), "alive")


@scenario
async def a_call_ends_at_its_timeout(args):
    async with await connect(args) as callee, await connect(args) as caller:
        interrupted = asyncio.Event()

        async def slow():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                interrupted.set()
                raise

        await within(callee.register(slow, "com.slow"))
        # Milliseconds, whatever the library's documentation says: it hands the number on as it is. Long enough for the
        # callee to have begun, for what has not begun is not told that it is cancelled.
        same(await refusal(caller.call("com.slow", options=CallOptions(timeout=1000))), "wamp.error.timeout")
        await within(interrupted.wait())


@scenario
async def shared_registrations_follow_their_policy(args):
    sessions = [await connect(args) for _ in range(4)]
    caller, *callees = sessions
    for policy in ("first", "last", "roundrobin", "random"):
        for number, callee in enumerate(callees):
            options = RegisterOptions(invoke=policy)
            await within(callee.register(lambda n=number: n, f"com.shared.{policy}", options))
    for policy, expected in [("first", [0] * 6), ("last", [2] * 6), ("roundrobin", [0, 1, 2] * 2)]:
        same([await within(caller.call(f"com.shared.{policy}")) for _ in range(6)], expected)
    found = {await within(caller.call("com.shared.random")) for _ in range(200)}
    same(found, {0, 1, 2})
    other = RegisterOptions(invoke="first")
    same(await refusal(caller.register(lambda: 1, "com.shared.last", other)), "wamp.error.procedure_already_exists")
    for session in sessions:
        session.leave()
        await within(session.left)


@scenario
async def patterns_of_procedures_follow_the_precedence(args):
    async with await connect(args) as callee, await connect(args) as caller:

        def named(name):
            return lambda details: [name, details.procedure]

        for name, uri, match in [
            ("exact", "com.pattern.a.b", "exact"),
            ("prefix", "com.pattern", "prefix"),
            ("longer prefix", "com.pattern.a", "prefix"),
            ("wildcard", "com..x.y", "wildcard"),
        ]:
            await within(callee.register(named(name), uri, RegisterOptions(match=match, details=True)))
        for procedure, name in [
            ("com.pattern.a.b", "exact"),
            ("com.pattern.a.c", "longer prefix"),
            ("com.pattern.x.y", "prefix"),
            ("com.else.x.y", "wildcard"),
        ]:
            found = await within(caller.call(procedure))
            same(found[0], name)
            # An exact registration need not be told what it is.
            same(found[1], procedure)


@scenario
async def no_more_calls_than_the_concurrency_reach_a_callee(args):
    async with await connect(args) as callee, await connect(args) as caller:
        gate, started = asyncio.Event(), asyncio.Queue()

        async def busy():
            started.put_nowait(1)
            await gate.wait()
            return "done"

        await within(callee.register(busy, "com.busy", RegisterOptions(concurrency=2, invoke="roundrobin")))
        calls = [caller.call("com.busy") for _ in range(2)]
        for _ in calls:
            await within(started.get())
        assert (await refusal(caller.call("com.busy"))).startswith("wamp.error."), "no error"
        gate.set()
        same(await within(asyncio.gather(*calls)), ["done", "done"])
        same(await within(caller.call("com.busy")), "done")


class Inverse:
    """A payload codec that turns every bit around: binary that is no text, and that nobody else reads."""

    def encode(self, is_originating, uri, args=None, kwargs=None):
        plain = json.dumps([uri, args, kwargs]).encode()
        return EncodedPayload(bytes(255 - byte for byte in plain), "x_inverse", "json", "key1")

    def decode(self, is_originating, uri, encoded):
        same((encoded.enc_algo, encoded.enc_serializer, encoded.enc_key), ("x_inverse", "json", "key1"))
        found, args, kwargs = json.loads(bytes(255 - byte for byte in encoded.payload))
        return found, args, kwargs


@scenario
async def payloads_that_the_sessions_encode_pass_untouched(args):
    async with await connect(args) as one, await connect(args) as other, await connect(args) as stranger:
        one.set_payload_codec(Inverse())
        other.set_payload_codec(Inverse())
        seen, unread = Events(), Events()
        await within(one.subscribe(seen, "com.secret", DETAILS))
        await within(stranger.subscribe(unread, "com.secret", DETAILS))
        await within(other.publish("com.secret", "a", [1, 2], key="value", options=TOLD))
        args_, kwargs, details = await seen.next()
        same((args_, kwargs, details.enc_algo), (("a", [1, 2]), {"key": "value"}, "x_inverse"))
        # Who has no codec for it is shown nothing.
        await within(stranger.publish("com.secret", "plain", options=PublishOptions(acknowledge=True, exclude_me=False)))
        same((await unread.next())[0], ("plain",))
        await within(one.register(lambda first, second: first + second, "com.secret.add"))
        same(await within(other.call("com.secret.add", 2, 3)), 5)


@scenario
async def testaments_are_published_when_the_session_is_lost(args):
    add, flush = "wamp.session.add_testament", "wamp.session.flush_testaments"
    async with await connect(args) as heir:
        seen = Events()
        await within(heir.subscribe(seen, "com.testament", DETAILS))
        async with await connect(args) as lost, await connect(args) as flushed:
            await within(lost.call(add, "com.testament", ["last"], {"of": 1}))
            await within(lost.call(add, "com.testament", ["first"], {}, scope="detached"))
            await within(flushed.call(add, "com.testament", ["never"], {}))
            await within(flushed.call(flush, scope="destroyed"))
            same(await refusal(lost.call(add, "com.testament", [], {}, scope="never")), "wamp.error.invalid_argument")
            flushed.leave()
            await within(flushed.left)
            lost.cut()
            await within(lost.left)
        same([(await seen.next())[:2] for _ in range(2)], [(("first",), {}), (("last",), {"of": 1})])


@scenario
async def many_events_keep_their_order(args):
    async with await connect(args) as subscriber, await connect(args) as publisher:
        events = Events()
        await within(subscriber.subscribe(events, "com.order"))
        for number in range(2000):
            publisher.publish("com.order", number)
        same(await events.firsts(2000), list(range(2000)))


if __name__ == "__main__":
    run("transport", "serializer", "batched")
