"""A WAMP session of autobahn-python on asyncio, whose life became futures that can be waited on."""

import asyncio

import txaio

txaio.use_asyncio()

import autobahn.asyncio.wamp
from autobahn.asyncio.rawsocket import WampRawSocketClientFactory
from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp import auth, message
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.serializer import CBORSerializer, JsonSerializer, MsgPackSerializer
from autobahn.wamp.types import ComponentConfig

from tap import PATIENCE

SERIALIZERS = {"json": JsonSerializer, "msgpack": MsgPackSerializer, "cbor": CBORSerializer}


class Session(ApplicationSession):
    """One session; `joined` and `left` are futures with the details of either."""

    def __init__(self, realm, **joining):
        super().__init__(ComponentConfig(realm))
        self.realm_name, self.joining, self.secret = realm, joining, joining.pop("secret", None)
        self.joined, self.left = asyncio.Future(), asyncio.Future()

    def onConnect(self):
        self.join(self.realm_name, **self.joining)

    def onChallenge(self, challenge):
        return self.secret(challenge)

    def onJoin(self, details):
        self.joined.set_result(details)

    def onLeave(self, details):
        self.left.set_result(details)
        self.disconnect()

    def onUserError(self, failure, message):
        """Errors that an endpoint raises on purpose need not be printed."""

    def cut(self):
        """Ends the connection without a GOODBYE."""
        self._transport.transport.abort()

    def subscribe_with(self, handler, topic, options=None, **more):
        """Subscribes with options that the library does not know."""
        transport = self._transport
        self._transport = _Widening(transport, more)
        try:
            return self.subscribe(handler, topic, options)
        finally:
            self._transport = transport

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        if self.is_attached():
            self.leave()
            await within(self.left)


class _Widening:
    """A transport that adds to the options of SUBSCRIBE."""

    def __init__(self, transport, more):
        self.transport, self.more = transport, more

    def __getattr__(self, name):
        return getattr(self.transport, name)

    def send(self, said):
        self.transport.send(_Subscribe(said, self.more))


class _Subscribe(message.Subscribe):
    def __init__(self, said, more):
        super().__init__(said.request, said.topic, said.match, said.get_retained)
        self.more = more

    def marshal_options(self):
        return {**super().marshal_options(), **self.more}


class Prover(autobahn.asyncio.wamp.Session):
    """A session that proves itself as the library does it for its components, and checks by what the router proves itself."""

    def __init__(self, **proofs):
        super().__init__(ComponentConfig("realm1"))
        self.joined, self.left = asyncio.Future(), asyncio.Future()
        for name, values in proofs.items():
            self.add_authenticator(auth.create_authenticator(name, **values))

    def on_join(self, details):
        self.joined.set_result(details)

    def on_leave(self, details):
        self.left.set_result(details)
        self.disconnect()

    def onUserError(self, failure, message):
        """Refusals that are asked for need not be printed."""

    __aenter__ = Session.__aenter__
    __aexit__ = Session.__aexit__


async def connect(args, realm="realm1", tls=None, headers=None, **joining):
    """A session that has joined, or the error by which it was refused. `tls` is the context for a connection over TLS,
    `headers` are those of the WebSocket's request."""
    return await joined(args, Session(realm, **joining), tls, headers)


async def joined(args, session, tls=None, headers=None):
    """The session, once it has joined."""
    serializer = SERIALIZERS[args.serializer](batched=bool(args.batched))
    if args.transport == "rs":
        factory = WampRawSocketClientFactory(lambda: session, serializer)
        port = args.rawsockets if tls else args.rawsocket
    else:
        scheme, port = ("wss", args.https) if tls else ("ws", args.http)
        url = f"{scheme}://127.0.0.1:{port}/ws"
        factory = WampWebSocketClientFactory(lambda: session, url=url, serializers=[serializer], headers=headers)
        # A lost connection must not leave a timer behind that keeps the program.
        factory.setProtocolOptions(closeHandshakeTimeout=1, openHandshakeTimeout=PATIENCE)
    await within(asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port, ssl=tls))
    await within(asyncio.wait([session.joined, session.left], return_when=asyncio.FIRST_COMPLETED))
    if session.left.done():
        raise ApplicationError(session.left.result().reason)
    return session


def within(waited):
    """What is waited for, but not for ever."""
    return asyncio.wait_for(waited, PATIENCE)


async def refusal(waited):
    """The URI of the error that must come."""
    try:
        found = await within(waited)
    except ApplicationError as error:
        return error.error
    raise AssertionError(f"no error but {found!r}")


class Events:
    """A handler that keeps the events it gets, as `(args, kwargs, details)`."""

    def __init__(self):
        self.queue = asyncio.Queue()

    def __call__(self, *args, details=None, **kwargs):
        self.queue.put_nowait((args, kwargs, details))

    async def next(self):
        return await within(self.queue.get())

    async def firsts(self, count):
        """The first argument of each of the next `count` events."""
        return [(await self.next())[0][0] for _ in range(count)]

    async def publications(self, count):
        """The first argument and the publication id of each of the next `count` events."""
        events = [await self.next() for _ in range(count)]
        return [(args[0], details.publication) for args, _, details in events]
