"""Every proof of identity that autobahn-python and paho-mqtt know, over every transport and serializer; the proofs are Autobahn's own.

The broker knows `alice` (password, WAMP-CRA, SCRAM by Argon2id, the key of a seed of 32 times 7), `plain` (WAMP-CRA without salt), `press`
(a certificate), `guarded` (certificate and key), `double` (WAMP-CRA, then the password), and lets anonymous clients in. All have the
password `--alice`. `--pki` is a folder: `ca.pem`, and `press.pem`, `guarded.pem`, `stranger.pem` with their keys; `crl.pem` is the revocation list
that the broker reads, `revoked.crl` one with `press` in it.
"""

import os
import shutil
import ssl
import urllib.request
from base64 import b64encode
from types import SimpleNamespace

from autobahn.asyncio.websocket import WampWebSocketClientProtocol
from autobahn.wamp import auth
from paho.mqtt.client import MQTTv5, MQTTv311

import wamp
from device import Device
from tap import PATIENCE, run, same, scenario
from wamp import SERIALIZERS, Prover, refusal

FAILED = "wamp.error.authentication_failed"
NO_METHOD = "wamp.error.no_matching_auth_method"
SEED = (b"\7" * 32).hex()


def wires(args):
    """The arguments with each transport and serializer."""
    for transport in ("ws", "rs"):
        for serializer in SERIALIZERS:
            yield SimpleNamespace(**{**vars(args), "transport": transport, "serializer": serializer})


def told(session):
    details = session.joined.result()
    return details.authid, details.authmethod, details.authrole


async def prove(args, expected, tls=None, **proofs):
    """Joins, and compares what WELCOME tells."""
    async with await wamp.joined(args, Prover(**proofs), tls) as session:
        same(told(session), expected)


async def refused(args, tls=None, **proofs):
    return await refusal(wamp.joined(args, Prover(**proofs), tls))


@scenario
async def without_a_name_it_is_anonymous(args):
    for wire in wires(args):
        await prove(wire, ("anonymous", "anonymous", "anonymous"), anonymous={})
        async with await wamp.connect(wire) as session:
            same(told(session), ("anonymous", "anonymous", "anonymous"))


@scenario
async def a_ticket(args):
    for wire in wires(args):
        await prove(wire, ("alice", "ticket", "owner"), ticket={"authid": "alice", "ticket": args.alice})
    same(await refused(args, ticket={"authid": "alice", "ticket": "wrong"}), FAILED)


@scenario
async def a_challenge_salted_and_not(args):
    for wire in wires(args):
        for authid in ("alice", "plain"):
            await prove(wire, (authid, "wampcra", "owner"), wampcra={"authid": authid, "secret": args.alice})
            same(await refused(wire, wampcra={"authid": authid, "secret": "wrong"}), FAILED)


@scenario
async def scram_by_argon2id(args):
    for wire in wires(args):
        await prove(wire, ("alice", "scram", "owner"), scram={"authid": "alice", "password": args.alice})
        for authid, password in [("alice", "wrong"), ("nobody", args.alice)]:
            same(await refused(wire, scram={"authid": authid, "password": password}), FAILED)


@scenario
async def a_key_with_and_without_a_name(args):
    for wire in wires(args):
        for name in ({}, {"authid": "alice"}):
            await prove(wire, ("alice", "cryptosign", "owner"), cryptosign={"privkey": SEED, **name})
            same(await refused(wire, cryptosign={"privkey": (b"\x08" * 32).hex(), **name}), FAILED)


@scenario
async def the_first_of_several_that_leads_somewhere(args):
    both = {"wampcra": {"authid": "plain", "secret": args.alice}, "ticket": {"authid": "plain", "ticket": args.alice}}
    await prove(args, ("plain", "wampcra", "owner"), **both)
    await prove(args, ("plain", "wampcra", "owner"), **dict(reversed(both.items())))
    same(await refused(args, ticket=both["ticket"]), NO_METHOD)


@scenario
async def two_proofs_one_after_the_other(args):
    challenge, ticket = {"authid": "double", "secret": args.alice}, {"authid": "double", "ticket": args.alice}
    for wire in wires(args):
        await prove(wire, ("double", "ticket", "owner"), wampcra=challenge, ticket=ticket)
        await prove(wire, ("double", "ticket", "owner"), ticket=ticket, wampcra=challenge)
        same(await refused(wire, wampcra=challenge), NO_METHOD)
        same(await refused(wire, wampcra={**challenge, "secret": "wrong"}, ticket=ticket), FAILED)
    same(await refused(args, wampcra=challenge, ticket={**ticket, "ticket": "wrong"}), FAILED)


class Carrier(WampWebSocketClientProtocol):
    """Keeps the headers of the answer."""

    def onConnect(self, response):
        self.factory.answered = dict(response.headers)
        return super().onConnect(response)


async def joined_with_cookie(args, cookie, tls, **joining):
    """A session, and the cookie that it was given, or none."""
    factories = []

    class Factory(wamp.WampWebSocketClientFactory):
        protocol = Carrier

        def __init__(self, *arguments, **values):
            super().__init__(*arguments, **values)
            factories.append(self)

    plain, wamp.WampWebSocketClientFactory = wamp.WampWebSocketClientFactory, Factory
    try:
        headers = {"Cookie": cookie} if cookie else None
        session = await wamp.connect(args, tls=tls, headers=headers, **joining)
    finally:
        wamp.WampWebSocketClientFactory = plain
    given = factories[0].answered.get("set-cookie", "")
    return session, given.split(";")[0]


@scenario
async def who_comes_back_by_its_cookie(args):
    for tls in (None, context(args)):
        ticket = {"authmethods": ["ticket"], "authid": "alice", "secret": lambda _: args.alice}
        session, cookie = await joined_with_cookie(args, None, tls, **ticket)
        async with session:
            same((told(session), bool(cookie)), (("alice", "ticket", "owner"), True))
        session, again = await joined_with_cookie(args, f"other=1; {cookie}", tls, authmethods=["cookie"])
        async with session:
            same((told(session), again), (("alice", "cookie", "owner"), ""))
        for wrong in (None, f"{cookie}0"):
            same(await refusal(joined_with_cookie(args, wrong, tls, authmethods=["cookie"])), NO_METHOD)


def context(args, name=None):
    """What a client needs for TLS: the authority, and a certificate to show."""
    made = ssl.create_default_context(cafile=os.path.join(args.pki, "ca.pem"))
    if name:
        made.load_cert_chain(os.path.join(args.pki, f"{name}.pem"))
    return made


@scenario
async def a_key_over_tls_and_no_binding_that_this_library_knows(args):
    for wire in wires(args):
        await prove(wire, ("alice", "cryptosign", "owner"), context(args), cryptosign={"privkey": SEED})
        # CHALLENGE says that there is none of this kind, and the library signs with it all the same.
        bound = {"privkey": SEED, "authextra": {"channel_binding": "tls-unique"}}
        same(await refused(wire, context(args), cryptosign=bound), FAILED)


@scenario
async def a_certificate_and_a_certificate_with_a_key(args):
    key = auth.create_authenticator("cryptosign", privkey=SEED)
    by_key = {"authextra": key.authextra, "secret": lambda challenge: key.on_challenge(Unbound, challenge)}
    for wire in wires(args):
        join = lambda name, *methods, **more: wamp.connect(wire, tls=context(args, name), authmethods=[*methods], **more)
        async with await join("press", "tls") as session:
            same(told(session), ("press", "tls", "owner"))
        async with await join("guarded", "cryptosign", "tls", authid="guarded", **by_key) as session:
            same(told(session), ("guarded", "cryptosign", "owner"))
        same(await refusal(join("guarded", "tls")), NO_METHOD)
        same(await refusal(join("press", "cryptosign", "tls", authid="guarded", **by_key)), FAILED)
        same(await refusal(join(None, "tls")), NO_METHOD)
        same(await refusal(join("press", "tls", authid="alice")), FAILED)


class Unbound:
    """All that the library's proof by key asks of a session."""

    class _transport:
        class transport_details:
            channel_id = {}


def shows(args, name, **options):
    pki = lambda file: os.path.join(args.pki, file)
    return Device(args, options.pop("protocol", MQTTv5), ca=pki("ca.pem"), cert=name and pki(f"{name}.pem"), **options)


def cut_off(make):
    """Whether the TLS handshake fails, as the client sees it, before or after it has sent CONNECT."""
    try:
        with make():
            return False
    except (ssl.SSLError, ConnectionAbortedError, ConnectionResetError, BrokenPipeError):
        return True


@scenario
def a_device_by_password_and_by_certificate_over_every_transport(args):
    for protocol in (MQTTv5, MQTTv311):
        for ws in (False, True):
            with shows(args, None, protocol=protocol, ws=ws, login=("alice", args.alice)):
                pass
            with shows(args, "press", protocol=protocol, ws=ws) as device:
                device.subscribe("own/press/#", 1)
                device.publish("own/press/x", "mine", 1)
                same(device.texts(1), ["mine"])
            # It is no user's, though it is believed: the device is nobody, who may not have this.
            with shows(args, "stranger", protocol=protocol, ws=ws) as device:
                assert device.subscribe("own/press/#", 1)[0] >= 0x80, "it may"


@scenario
def who_is_revoked_is_cut_off_and_does_not_come_in_again(args):
    with shows(args, "press") as device, shows(args, "stranger") as other, shows(args, "press", ws=True) as page:
        shutil.copy(os.path.join(args.pki, "revoked.crl"), os.path.join(args.pki, "new.crl"))
        os.replace(os.path.join(args.pki, "new.crl"), os.path.join(args.pki, "crl.pem"))
        request = urllib.request.Request(f"http://127.0.0.1:{args.http}/admin/reload", method="POST")
        request.add_header("authorization", f"Basic {b64encode(f'alice:{args.alice}'.encode()).decode()}")
        urllib.request.urlopen(request, timeout=PATIENCE).close()
        for ended in (device, page):
            ended.ends.get(timeout=PATIENCE)
        other.publish("anybody/x", "still here", 1)
    for ws in (False, True):
        same(cut_off(lambda: shows(args, "press", ws=ws)), True)
    with shows(args, "stranger"):
        pass


if __name__ == "__main__":
    run("transport", "serializer", "batched", "alice", "pki")
