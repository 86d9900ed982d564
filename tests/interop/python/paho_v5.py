"""What only MQTT 5 has, by paho-mqtt."""

from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from device import Device, fresh, properties
from tap import run, same, scenario

# Disconnects with the will (MQTT 5, 3.14.2.1).
WITH_WILL = ReasonCode(PacketTypes.DISCONNECT, identifier=0x04)


def device(args, **options):
    return Device(args, MQTTv5, **options)


@scenario
def an_empty_client_id_is_assigned_one(args):
    with device(args, client_id="") as first, device(args, client_id="") as second:
        ids = [one.connack[2].AssignedClientIdentifier for one in (first, second)]
        assert ids[0] and ids[1] and ids[0] != ids[1], ids


@scenario
def the_properties_of_a_publish_pass_through(args):
    topic = fresh("properties")
    pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("ü", "")]
    values = {
        "PayloadFormatIndicator": 1,
        "ContentType": "text/plain",
        "ResponseTopic": "answers/here",
        "CorrelationData": b"\x00\x01\xff",
    }
    with device(args) as subscriber, device(args) as publisher:
        subscriber.subscribe(topic, 2)
        for qos in (0, 1, 2):
            publisher.publish(topic, "text", qos, UserProperty=pairs, **values)
            found = subscriber.next().properties
            same({name: getattr(found, name) for name in values}, values)
            same(found.UserProperty, pairs)


@scenario
def the_expiry_interval_is_handed_on_less_the_time_it_waited(args):
    topic, client_id = fresh("expiry"), fresh("lasting")
    with device(args) as publisher:
        publisher.subscribe(f"{topic}/left", 1)
        will = {"topic": f"{topic}/left", "qos": 1}
        sleeper = device(args, client_id=client_id, clean=False, SessionExpiryInterval=600, will=will)
        sleeper.subscribe(topic, 1)
        # By the will the broker says that it knows of the end; before that it would still send.
        sleeper.leave(reasoncode=WITH_WILL)
        publisher.next()
        publisher.publish(topic, "short", 1, MessageExpiryInterval=1)
        publisher.publish(topic, "long", 1, MessageExpiryInterval=300)
        publisher.publish(topic, "ever", 1)
    with device(args) as clock, device(args) as watcher:
        # A will with a delay of two seconds is the clock here: when it comes, the short message has expired.
        watcher.subscribe(fresh_will := fresh("clock"), 1)
        delay = properties("willmessage", WillDelayInterval=2)
        cut = device(args, SessionExpiryInterval=600, will={"topic": fresh_will, "qos": 1, "properties": delay})
        cut.drop()
        watcher.next()
    with device(args, client_id=client_id, clean=False, SessionExpiryInterval=600) as sleeper:
        message = sleeper.next()
        same(message.payload, b"long")
        assert 290 <= message.properties.MessageExpiryInterval < 300, message.properties
        message = sleeper.next()
        same(message.payload, b"ever")
        assert not hasattr(message.properties, "MessageExpiryInterval"), message.properties


@scenario
def a_topic_alias_stands_for_its_topic(args):
    first, second = fresh("alias"), fresh("alias")
    with device(args) as subscriber, device(args) as publisher:
        assert publisher.connack[2].TopicAliasMaximum >= 2
        subscriber.subscribe([(first, 0), (second, 0)])
        publisher.publish(first, "1", TopicAlias=1)
        publisher.publish(second, "2", TopicAlias=2)
        publisher.publish("", "3", TopicAlias=1)
        publisher.publish("", "4", TopicAlias=2)
        publisher.publish(second, "5", TopicAlias=1)
        publisher.publish("", "6", TopicAlias=1)
        found = [subscriber.next() for _ in range(6)]
        same([message.topic for message in found], [first, second, first, second, second, second])
        same([message.payload for message in found], [b"1", b"2", b"3", b"4", b"5", b"6"])
        assert not any(hasattr(message.properties, "TopicAlias") for message in found)


@scenario
def a_message_carries_the_identifiers_of_all_subscriptions_it_matches(args):
    base = fresh("ids")
    with device(args) as subscriber, device(args) as publisher:
        subscriber.subscribe(f"{base}/#", 1, properties=properties("subscribe", SubscriptionIdentifier=7))
        subscriber.subscribe(f"{base}/+", 1, properties=properties("subscribe", SubscriptionIdentifier=268_435_455))
        subscriber.subscribe(f"{base}/none", 1)
        publisher.publish(f"{base}/a", "both", 1)
        publisher.publish(f"{base}/a/b", "first", 1)
        same(sorted(subscriber.next().properties.SubscriptionIdentifier), [7, 268_435_455])
        same(subscriber.next().properties.SubscriptionIdentifier, [7])


@scenario
def no_local_keeps_away_only_what_the_subscriber_published(args):
    topic = fresh("local")
    with device(args) as one, device(args) as other:
        one.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True))
        one.publish(topic, "own", 1)
        other.publish(topic, "foreign", 1)
        same(one.texts(1), ["foreign"])


@scenario
def retain_as_published_keeps_the_flag_on_live_messages(args):
    topic = fresh("flag")
    with device(args) as plain, device(args) as kept, device(args) as publisher:
        plain.subscribe(topic, options=SubscribeOptions(qos=1))
        kept.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True))
        publisher.publish(topic, "a", 1, retain=True)
        publisher.publish(topic, "b", 1, retain=False)
        same([plain.next().retain for _ in range(2)], [False, False])
        same([kept.next().retain for _ in range(2)], [True, False])


@scenario
def retain_handling_says_when_retained_messages_are_sent(args):
    topic, end = fresh("handling"), fresh("end")
    with device(args) as subscriber, device(args) as publisher:
        publisher.publish(topic, "kept", 1, retain=True)
        subscriber.subscribe(end, 1)

        def sent(handling):
            subscriber.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=handling))
            publisher.publish(end, "end", 1)
            return subscriber.next().payload == b"kept" and subscriber.next().payload == b"end"

        same([sent(2), sent(1), sent(0), sent(0)], [False, False, True, True])
        subscriber.unsubscribe(topic)
        same([sent(1), sent(1)], [True, False])


@scenario
def the_session_expiry_interval_decides_what_is_kept(args):
    client_id, left = fresh("expiring"), fresh("left")

    def visit(disconnect=None, **values):
        """Comes and goes; says whether the session was there. Waits for the will, so that the broker knows of the end."""
        visitor = device(args, client_id=client_id, clean=False, will={"topic": left, "qos": 1}, **values)
        visitor.leave(reasoncode=WITH_WILL, properties=disconnect)
        watcher.next()
        return visitor.connack[0]

    with device(args) as watcher:
        watcher.subscribe(left, 1)
        same(visit(SessionExpiryInterval=600), False)
        same(visit(), True)
        # Without an interval the session ended with that connection.
        end = properties("disconnect", SessionExpiryInterval=0)
        same(visit(SessionExpiryInterval=600), False)
        same(visit(end, SessionExpiryInterval=600), True)
        same(visit(), False)


@scenario
def a_shared_subscription_gives_each_message_to_one_member(args):
    topic, group = fresh("work"), fresh("group")
    with device(args) as publisher, device(args) as whole:
        members = [device(args) for _ in range(3)]
        for member in members:
            same(member.subscribe([(f"$share/{group}/{topic}", 1), (f"{topic}/end", 1)]), [1, 1])
        whole.subscribe(topic, 1)
        for number in range(60):
            publisher.publish(topic, str(number), 1)
        publisher.publish(f"{topic}/end", "end", 1)
        shares = []
        for member in members:
            shares.append(list(iter(lambda one=member: one.next().payload.decode(), "end")))
            member.leave()
        same(sorted(map(int, sum(shares, []))), list(range(60)))
        assert all(shares), f"one member got nothing: {shares}"
        same(whole.texts(60), [str(number) for number in range(60)])


@scenario
def a_shared_subscription_sends_no_retained_messages(args):
    topic = fresh("work")
    with device(args) as publisher, device(args) as member:
        publisher.publish(topic, "kept", 1, retain=True)
        member.subscribe(f"$share/group/{topic}", 1)
        publisher.publish(topic, "live", 1)
        same(member.texts(1), ["live"])


@scenario
def no_more_messages_are_under_way_than_the_receive_maximum(args):
    topic = fresh("window")
    with device(args, manual_ack=True, ReceiveMaximum=2) as subscriber, device(args) as publisher:
        subscriber.subscribe([(topic, 1), (f"{topic}/free", 0)])
        for number in range(6):
            publisher.publish(topic, str(number), 1)
        # QoS 0 is not counted: it comes past what must wait.
        publisher.publish(f"{topic}/free", "free", 0)
        first = [subscriber.next() for _ in range(3)]
        same([message.payload for message in first], [b"0", b"1", b"free"])
        waiting = first[:2]
        for number in range(2, 6):
            subscriber.client.ack(waiting.pop(0).mid, 1)
            waiting.append(subscriber.next())
            same(waiting[-1].payload, str(number).encode())


@scenario
def a_message_over_the_maximum_packet_size_is_left_out(args):
    topic = fresh("small")
    with device(args, MaximumPacketSize=200) as subscriber, device(args) as publisher:
        subscriber.subscribe(topic, 1)
        publisher.publish(topic, "x" * 500, 1)
        publisher.publish(topic, "fits", 1)
        same(subscriber.texts(1), ["fits"])


@scenario
def a_request_is_answered_on_its_response_topic(args):
    topic, answers = fresh("requests"), fresh("answers")
    with device(args) as responder, device(args) as requester:
        responder.subscribe(topic, 1)
        requester.subscribe(answers, 1)
        requester.publish(topic, "6*7", 1, ResponseTopic=answers, CorrelationData=b"id")
        request = responder.next().properties
        responder.publish(request.ResponseTopic, "42", 1, CorrelationData=request.CorrelationData)
        answer = requester.next()
        same((answer.payload, answer.properties.CorrelationData), (b"42", b"id"))


@scenario
def a_will_waits_for_its_delay_and_is_withdrawn_by_a_return(args):
    topic, client_id = fresh("will"), fresh("lasting")
    lasting = {"client_id": client_id, "clean": False, "SessionExpiryInterval": 600}

    def will(payload, delay):
        made = properties("willmessage", WillDelayInterval=delay, ContentType="text/plain", UserProperty=("a", "b"))
        return {"topic": topic, "payload": payload, "qos": 1, "properties": made}

    with device(args) as watcher:
        watcher.subscribe(topic, 1)
        device(args, will=will("withdrawn", 1), **lasting).drop()
        with device(args, **lasting):
            device(args, will=will("late", 2), SessionExpiryInterval=600).drop()
            message = watcher.next()
        same(message.payload, b"late")
        # The broker adds where the event stands in the log.
        own = [pair for pair in message.properties.UserProperty if pair[0] != "event_id"]
        same((message.properties.ContentType, own), ("text/plain", [("a", "b")]))


@scenario
def a_disconnect_can_ask_for_the_will(args):
    topic = fresh("will")
    with device(args) as watcher:
        watcher.subscribe(topic, 1)
        leaver = device(args, will={"topic": topic, "payload": "asked for", "qos": 1})
        leaver.leave(reasoncode=WITH_WILL)
        same(watcher.texts(1), ["asked for"])


@scenario
def an_unsubscribe_says_whether_there_was_something_to_end(args):
    topic = fresh("there")
    with device(args) as subscriber:
        subscriber.subscribe(topic, 1)
        same(subscriber.unsubscribe([topic, f"{topic}/not"]), [0x00, 0x11])


if __name__ == "__main__":
    run()
