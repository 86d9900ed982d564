"""What holds for every version of MQTT, by paho-mqtt: `--version 31`, `311` or `5`, `--transport tcp` or `ws`."""

from paho.mqtt.client import MQTTv5, MQTTv31, MQTTv311

from device import Device, fresh
from tap import run, same, scenario

VERSIONS = {"31": MQTTv31, "311": MQTTv311, "5": MQTTv5}


def device(args, **options):
    return Device(args, VERSIONS[args.version], ws=args.transport == "ws", **options)


def lasting(args, client_id, clean=False, **options):
    """A device whose session outlives the connection."""
    if args.version == "5":
        options["SessionExpiryInterval"] = 600
    return device(args, client_id=client_id, clean=clean, **options)


@scenario
def every_pair_of_qos_is_delivered_with_the_lower_one(args):
    with device(args) as subscriber, device(args) as publisher:
        for granted in (0, 1, 2):
            topic = fresh("qos")
            same(subscriber.subscribe(topic, granted), [granted])
            for published in (0, 1, 2):
                publisher.publish(topic, f"{published}", published)
                message = subscriber.next()
                same((message.topic, message.payload), (topic, f"{published}".encode()))
                same((message.qos, message.retain, message.dup), (min(granted, published), False, False))


@scenario
def messages_of_one_publisher_keep_their_order(args):
    with device(args) as subscriber, device(args) as publisher:
        for qos in (0, 1, 2):
            topic = fresh("order")
            subscriber.subscribe(topic, qos)
            sent = [publisher.client.publish(topic, str(number), qos) for number in range(500)]
            same(subscriber.texts(500), [str(number) for number in range(500)])
            for info in sent:
                info.wait_for_publish(20)
                assert info.is_published()


@scenario
def a_retained_message_comes_with_the_flag_to_those_who_subscribe_later(args):
    topic = fresh("kept")
    with device(args) as publisher, device(args) as early, device(args) as late:
        early.subscribe(topic, 1)
        publisher.publish(topic, "value", 1, retain=True)
        same(early.next().retain, False)
        late.subscribe(topic, 1)
        message = late.next()
        same((message.payload, message.retain, message.qos), (b"value", True, 1))


@scenario
def the_last_retained_message_wins_and_an_empty_one_clears(args):
    topic = fresh("kept")
    with device(args) as publisher, device(args) as late:
        publisher.publish(f"{topic}/a", "old", 1, retain=True)
        publisher.publish(f"{topic}/a", "new", 1, retain=True)
        publisher.publish(f"{topic}/b", "gone", 1, retain=True)
        publisher.publish(f"{topic}/b", "", 1, retain=True)
        late.subscribe(f"{topic}/#", 1)
        publisher.publish(f"{topic}/end", "end", 1)
        same(late.texts(2), ["new", "end"])


@scenario
def a_will_is_published_when_the_connection_is_cut(args):
    topic = fresh("will")
    will = {"topic": topic, "payload": "gone", "qos": 1, "retain": True}
    with device(args) as watcher, device(args) as late:
        watcher.subscribe(topic, 1)
        device(args, will=will).drop()
        message = watcher.next()
        same((message.payload, message.qos, message.retain), (b"gone", 1, False))
        late.subscribe(topic, 1)
        same(late.next().retain, True)


@scenario
def a_will_is_not_published_after_a_disconnect(args):
    topic = fresh("will")
    will = {"topic": topic, "payload": "gone", "qos": 1}
    with device(args) as watcher:
        watcher.subscribe(topic, 1)
        device(args, will=will).leave()
        # The cut of a second device is handled after the first one's end, so its will would come first.
        device(args, will=dict(will, payload="cut")).drop()
        same(watcher.texts(1), ["cut"])


@scenario
def a_lasting_session_is_found_again_with_what_came_meanwhile(args):
    topic, client_id = fresh("queue"), fresh("lasting")
    with lasting(args, client_id) as sleeper:
        same(sleeper.connack[0], False)
        sleeper.subscribe(topic, 2)
    with device(args) as publisher:
        # One level after the other: a QoS 2 message is handed over later than a QoS 1 message of the same moment.
        for number in range(20):
            publisher.publish(topic, str(number), 1 + number // 10)
    with lasting(args, client_id) as sleeper, device(args) as publisher:
        # MQTT 3.1 has no such flag: its CONNACK byte is reserved.
        same(sleeper.connack[0], args.version != "31")
        same(sleeper.texts(20), [str(number) for number in range(20)])
        publisher.publish(topic, "live", 1)
        same(sleeper.texts(1), ["live"])


@scenario
def a_clean_start_forgets_the_session(args):
    topic, client_id = fresh("queue"), fresh("lasting")
    with lasting(args, client_id) as sleeper:
        sleeper.subscribe(topic, 1)
    with device(args, client_id=client_id, clean=True) as again, device(args) as publisher:
        same(again.connack[0], False)
        publisher.publish(topic, "lost", 1)
        again.subscribe(f"{topic}/end", 1)
        publisher.publish(f"{topic}/end", "end", 1)
        same(again.texts(1), ["end"])


@scenario
def what_was_not_acknowledged_comes_again_marked_and_in_order(args):
    topic, client_id = fresh("again"), fresh("lasting")
    with device(args) as publisher:
        sleeper = lasting(args, client_id, manual_ack=True)
        sleeper.subscribe(topic, 1)
        for number in range(5):
            publisher.publish(topic, str(number), 1)
        first = [sleeper.next() for _ in range(5)]
        same([message.dup for message in first], [False] * 5)
        sleeper.client.ack(first[0].mid, 1)
        # The answer to this comes after the acknowledgement was read.
        sleeper.subscribe(f"{topic}/other", 1)
        sleeper.drop()
        with lasting(args, client_id) as sleeper:
            again = [sleeper.next() for _ in range(4)]
            same([message.payload for message in again], [b"1", b"2", b"3", b"4"])
            same([message.dup for message in again], [True] * 4)
            same([message.mid for message in again], [message.mid for message in first[1:]])


@scenario
def a_qos_2_exchange_that_was_cut_is_finished_without_a_repeat(args):
    topic, client_id = fresh("exactly"), fresh("lasting")
    with device(args) as publisher:
        sleeper = lasting(args, client_id, manual_ack=True)
        sleeper.subscribe(topic, 2)
        publisher.publish(topic, "once", 2)
        # The message is handed over at PUBREL; without an ack, PUBCOMP stays away.
        once = sleeper.next()
        same(once.qos, 2)
        sleeper.drop()
        sleeper.client.manual_ack_set(False)
        sleeper.connect()
        publisher.publish(topic, "end", 2)
        same(sleeper.texts(1), ["end"])
        sleeper.leave()


@scenario
def a_second_client_of_the_same_id_takes_over(args):
    topic, client_id = fresh("take"), fresh("twin")
    with device(args) as publisher:
        first = lasting(args, client_id)
        first.subscribe(topic, 1)
        with lasting(args, client_id) as second:
            by_packet, reason = first.ends.get(timeout=20)
            if args.version == "5":
                same((by_packet, reason.value), (True, 0x8E))
            same(second.connack[0], args.version != "31")
            publisher.publish(topic, "to the second", 1)
            same(second.texts(1), ["to the second"])
        first.leave()


@scenario
def wildcards_match_levels_and_not_dollar_topics(args):
    base = fresh("wild")
    with device(args) as subscriber, device(args) as publisher:
        subscriber.subscribe([(f"{base}/+/c", 0), (f"{base}/deep/#", 0), ("+/monitor/" + base, 0)])
        for topic in ("a/b/c", "a/c", "deep", "deep/x/y", "deeper", "/c"):
            publisher.publish(f"{base}/{topic}", topic)
        publisher.publish(f"$other/monitor/{base}", "hidden")
        publisher.publish(f"{base}/deep", "end")
        same(subscriber.texts(5), ["a/c", "deep", "deep/x/y", "/c", "end"])


@scenario
def overlapping_subscriptions_give_one_copy_with_the_highest_qos(args):
    base = fresh("overlap")
    with device(args) as subscriber, device(args) as publisher:
        subscriber.subscribe([(f"{base}/#", 0), (f"{base}/a", 2), (f"{base}/+", 1)])
        publisher.publish(f"{base}/a", "one", 2)
        message = subscriber.next()
        same((message.payload, message.qos), (b"one", 2))
        publisher.publish(f"{base}/b", "end", 1)
        same(subscriber.texts(1), ["end"])


@scenario
def nothing_comes_after_an_unsubscribe(args):
    base = fresh("leave")
    with device(args) as subscriber, device(args) as publisher:
        subscriber.subscribe([(f"{base}/a", 1), (f"{base}/end", 1)])
        subscriber.unsubscribe(f"{base}/a")
        publisher.publish(f"{base}/a", "lost", 1)
        publisher.publish(f"{base}/end", "end", 1)
        same(subscriber.texts(1), ["end"])


@scenario
def payloads_of_every_size_arrive_whole(args):
    topic = fresh("size")
    with device(args) as subscriber, device(args) as publisher:
        subscriber.subscribe(topic, 1)
        for size in (0, 1, 127, 128, 16_383, 16_384, 65_536, 2_097_152):
            payload = bytes(number % 251 for number in range(size))
            publisher.publish(topic, payload, 1)
            found = subscriber.next().payload
            assert found == payload, f"{len(found)} bytes instead of {size}, or other ones"


@scenario
def packet_identifiers_can_wrap_around(args):
    topic = fresh("wrap")
    with device(args) as subscriber, device(args) as publisher:
        subscriber.subscribe(topic, 1)
        for block in range(14):
            for number in range(5000):
                publisher.client.publish(topic, f"{block}/{number}", 1)
            same(subscriber.texts(5000), [f"{block}/{number}" for number in range(5000)])


if __name__ == "__main__":
    run("version", "transport")
