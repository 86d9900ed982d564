"""Tokens by autobahn-python and paho-mqtt, and a procedure that decides.

The broker knows `alice` (`--alice`, her password), believes tokens that are signed with `--secret`, and asks
`com.example.authenticate` in realm1 about other tickets and WAMP-CRA.
"""

import base64
import hashlib
import hmac
import json
import time

from autobahn.wamp import auth
from paho.mqtt.client import MQTTv5, MQTTv311

from device import Device
from tap import run, same, scenario
from wamp import Prover, connect, joined, refusal, within

FAILED = "wamp.error.authentication_failed"
ROLE = "owner"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(secret, **claims):
    """A token signed by HS256."""
    claims = {"sub": "eve", "role": ROLE, "exp": int(time.time()) + 600, **claims}
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    message = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return f"{message}.{base64url(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest())}"


@scenario
async def a_token_is_a_ticket_and_a_method_of_its_own(args):
    for method, joining in (("ticket", {"authid": "eve"}), ("jwt", {})):
        by = lambda told: connect(args, authmethods=[method], secret=lambda _challenge: told, **joining)
        async with await by(token(args.secret)) as session:
            details = session.joined.result()
            same((details.authid, details.authmethod, details.authprovider), ("eve", method, "jwt"))
        for wrong in (token("another secret of the same length....."), token(args.secret, exp=1), "x"):
            same(await refusal(by(wrong)), FAILED)


@scenario
async def the_library_takes_a_token_for_a_ticket(args):
    proof = Prover(ticket={"authid": "eve", "ticket": token(args.secret)})
    async with await joined(args, proof) as session:
        same(session.joined.result().authprovider, "jwt")


@scenario
def a_token_is_a_password_of_devices(args):
    for protocol in (MQTTv5, MQTTv311):
        with Device(args, protocol, login=("eve", token(args.secret))):
            pass
        try:
            with Device(args, protocol, login=("eve", token(args.secret, exp=1))):
                raise AssertionError("not refused")
        except ConnectionRefusedError:
            pass


@scenario
async def a_procedure_decides_about_those_nobody_knows(args):
    def authenticate(realm, authid, details):
        same(realm, "realm1")
        if details["authmethod"] == "wampcra":
            return {"role": ROLE, "secret": "s3cret"}
        if details["ticket"] != "open":
            raise RuntimeError("no")
        return {"role": ROLE, "authid": authid.upper(), "extra": {"floor": 3}}

    ticket = lambda told: connect(args, authmethods=["ticket"], authid="bob", secret=lambda _: told)
    same(await refusal(ticket("open")), FAILED)
    login = dict(authmethods=["ticket"], authid="alice", secret=lambda _: args.alice)
    async with await connect(args, **login) as decider:
        await within(decider.register(authenticate, "com.example.authenticate"))
        async with await ticket("open") as session:
            details = session.joined.result()
            same((details.authid, details.authprovider, details.authextra["floor"]), ("BOB", "dynamic", 3))
        same(await refusal(ticket("shut")), FAILED)
        for secret in ("s3cret", "wrong"):
            sign = lambda challenge: auth.compute_wcs(secret, challenge.extra["challenge"]).decode()
            joined = connect(args, authmethods=["wampcra"], authid="bob", secret=sign)
            if secret == "wrong":
                same(await refusal(joined), FAILED)
                continue
            async with await joined as session:
                same(session.joined.result().authmethod, "wampcra")


if __name__ == "__main__":
    run("transport", "serializer", "batched", "alice", "secret")
