"""mosquitto_pub, mosquitto_sub and mosquitto_rr, as a person types them."""

import asyncio
import contextlib
import json

from device import fresh
from tap import PATIENCE, run, same, scenario


class Tool:
    """A running tool; its output is read line by line."""

    def __init__(self, process):
        self.process = process

    async def line(self):
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        assert line, f"the tool ended with {await self.process.wait()}"
        return line.decode().rstrip("\n")

    async def lines(self, count):
        return [await self.line() for _ in range(count)]

    async def until(self, text):
        """Reads up to the line with `text`."""
        while text not in await self.line():
            pass


@contextlib.asynccontextmanager
async def tool(args, program, *words):
    # Line by line, as on a terminal; into a pipe the debug lines would wait for a full buffer.
    command = ["stdbuf", "-oL", program, "-p", str(args.mqtt), *words]
    piped = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    process = await asyncio.create_subprocess_exec(*command, **piped)
    try:
        yield Tool(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def subscriber(args, *words):
    """mosquitto_sub, subscribed. Its debug lines say when; messages are told apart by their `> `."""
    async with tool(args, "mosquitto_sub", "-d", *words) as running:
        await running.until("Subscribed (mid")
        running.line = _messages_of(running)
        yield running


def _messages_of(running):
    plain = running.line

    async def line():
        while not (text := await plain()).startswith("> "):
            pass
        return text[2:]

    return line


async def publish(args, *words, payload=None):
    """mosquitto_pub; must end well."""
    command = ["mosquitto_pub", "-p", str(args.mqtt), *words]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    said, _ = await asyncio.wait_for(process.communicate(payload), PATIENCE)
    assert process.returncode == 0, f"mosquitto_pub ended with {process.returncode}: {said.decode()}"


@scenario
async def every_version_and_qos_goes_through(args):
    for version in ("mqttv31", "mqttv311", "mqttv5"):
        topic = fresh("cli")
        async with subscriber(args, "-V", version, "-q", "2", "-t", topic, "-F", "> %q %p") as sub:
            for qos in ("0", "1", "2"):
                await publish(args, "-V", version, "-q", qos, "-t", topic, "-m", "text")
                same(await sub.line(), f"{qos} text")


@scenario
async def lines_of_a_pipe_become_messages(args):
    topic = fresh("cli")
    async with subscriber(args, "-q", "1", "-t", f"{topic}/#", "-F", "> %p") as sub:
        lines = [str(number) for number in range(200)]
        await publish(args, "-q", "1", "-t", f"{topic}/lines", "-l", payload="\n".join(lines).encode() + b"\n")
        same(await sub.lines(200), lines)


@scenario
async def retained_messages_are_kept_and_removed(args):
    topic = fresh("cli")
    await publish(args, "-q", "1", "-t", f"{topic}/a", "-m", "A", "-r")
    await publish(args, "-q", "1", "-t", f"{topic}/b", "-m", "B", "-r")
    async with subscriber(args, "-t", f"{topic}/#", "-F", "> %t %r %p") as sub:
        same(sorted(await sub.lines(2)), [f"{topic}/a 1 A", f"{topic}/b 1 B"])
    async with subscriber(args, "-t", f"{topic}/a", "-F", "> (%p)") as watcher:
        same(await watcher.line(), "(A)")
        async with tool(args, "mosquitto_sub", "-t", f"{topic}/a", "--remove-retained"):
            same(await watcher.line(), "()")
    async with subscriber(args, "-t", f"{topic}/#", "-F", "> %t") as sub:
        same(await sub.line(), f"{topic}/b")


@scenario
async def properties_are_shown_by_the_json_format(args):
    topic = fresh("cli")
    async with subscriber(args, "-V", "5", "-t", topic, "-F", "> %j") as sub:
        properties = ["content-type text/plain", "response-topic a/b", "correlation-data id", "user-property k v"]
        properties.append("message-expiry-interval 60")
        words = [word for one in properties for word in ["-D", "publish", *one.split()]]
        await publish(args, "-V", "5", "-t", topic, "-m", "text", *words)
        found = json.loads(await sub.line())["properties"]
        same((found["content-type"], found["response-topic"]), ("text/plain", "a/b"))
        same(found["correlation-data"], "id")
        # An object in older versions of the tool, a list in newer ones.
        assert found["user-properties"] in ({"k": "v"}, [{"k": "v"}]), found
        assert 50 <= found["message-expiry-interval"] <= 60, found


@scenario
async def a_lasting_session_gets_what_came_meanwhile(args):
    topic, name = fresh("cli"), fresh("lasting")
    words = ["-i", name, "-c", "-q", "1", "-t", topic, "-F", "> %p"]
    async with tool(args, "mosquitto_sub", *words, "-E") as sub:
        same(await asyncio.wait_for(sub.process.wait(), PATIENCE), 0)
    for number in range(3):
        await publish(args, "-q", "1", "-t", topic, "-m", str(number))
    async with tool(args, "mosquitto_sub", *words) as sub:
        same(await sub.lines(3), ["> 0", "> 1", "> 2"])


@scenario
async def a_will_comes_when_the_tool_is_killed(args):
    topic = fresh("cli")
    async with subscriber(args, "-t", topic, "-F", "> %p") as watcher:
        will = ["--will-topic", topic, "--will-payload", "killed", "--will-qos", "1"]
        async with subscriber(args, "-t", "unused", *will) as dying:
            dying.process.kill()
            same(await watcher.line(), "killed")


@scenario
async def a_request_is_answered(args):
    topic, answers = fresh("requests"), fresh("answers")
    async with subscriber(args, "-V", "5", "-t", topic, "-F", "> %R %D %p") as responder:
        words = ["-V", "5", "-t", topic, "-e", answers, "-D", "publish", "correlation-data", "c1", "-m", "question"]
        async with tool(args, "mosquitto_rr", *words) as requester:
            same(await responder.line(), f"{answers} c1 question")
            await publish(args, "-V", "5", "-t", answers, "-D", "publish", "correlation-data", "c1", "-m", "answer")
            same(await requester.line(), "answer")


@scenario
async def the_broker_tells_of_itself_under_sys(args):
    topics = ["-t", "$SYS/broker/version", "-t", "$SYS/broker/clients/connected"]
    async with subscriber(args, *topics, "-F", "> %t %p") as sub:
        found = dict([(await sub.line()).split(" ", 1) for _ in range(2)])
        assert found["$SYS/broker/version"], found
        # Counted now and then, so perhaps from before this client came.
        assert int(found["$SYS/broker/clients/connected"]) >= 0, found


if __name__ == "__main__":
    run()
