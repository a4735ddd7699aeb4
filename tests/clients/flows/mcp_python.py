"""The Python SDK of MCP: from the 401 of a server that it knows nothing about to a call.

Reads its stage as JSON from standard input; a person is asked by posting the address to `person`, which answers where the
browser was sent. Prints a line of JSON for each flow: `{"name", "told"}` or `{"name", "failed"}`.
"""

import asyncio
import json
import sys
import traceback
from urllib.parse import parse_qs, urlparse

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

BACK = "http://127.0.0.1:49204/callback"


class Kept:
    """What an application keeps for the SDK."""

    def __init__(self):
        self.tokens = None
        self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def person(stage):
    """The two handlers of an application whose browser is a person of the stage."""
    came = {}

    async def redirect(url):
        async with httpx2.AsyncClient() as http:
            answer = await http.post(stage["person"], content=url, timeout=30)
        answer.raise_for_status()
        came.update({name: values[0] for name, values in parse_qs(urlparse(answer.text).query).items()})

    async def callback():
        return AuthorizationCodeResult(code=came["code"], state=came.get("state"), iss=came.get("iss"))

    return redirect, callback


async def calls(stage, auth, *tools):
    """Connects and calls each tool."""
    async with httpx2.AsyncClient(auth=auth, timeout=30) as http:
        async with streamable_http_client(stage["mcp"], http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                for tool in tools:
                    result = await session.call_tool(tool, {})
                    assert result.content[0].text == f"{tool}: done", result


def application(stage, kept, **more):
    members = {"client_name": "Notebook", "redirect_uris": [BACK], "token_endpoint_auth_method": "none"}
    return OAuthClientProvider(stage["mcp"], OAuthClientMetadata(**members), kept, *person(stage), **more)


async def registers(stage):
    kept = Kept()
    editor = application(stage, kept)
    await calls(stage, editor, "read_note")
    assert kept.client.client_id.startswith("agt_"), kept.client
    # The token is over: the SDK refreshes it before it asks, and the person is asked nothing.
    used, editor.context.redirect_handler = kept.tokens.refresh_token, None
    editor.context.token_expiry_time = 1.0
    await calls(stage, editor, "read_note")
    assert kept.tokens.refresh_token != used
    return kept.client.client_id


async def document(stage):
    kept = Kept()
    await calls(stage, application(stage, kept, client_metadata_url=stage["document"]), "read_note")
    assert kept.client.client_id == stage["document"], kept.client
    return stage["document"]


def agent(stage):
    """An agent's own credentials, for the door of Placet itself. It asks for no scope, as no server names one."""
    known, door = stage["door"], f"{stage['issuer']}/mcp"
    return ClientCredentialsOAuthProvider(
        door, Kept(), known["client_id"], known["client_secret"], issuer=stage["issuer"]
    )


async def at_the_door(stage, begins):
    """Placet's own tools: listed, called, refused, held and released."""
    async with httpx2.AsyncClient(auth=agent(stage), timeout=30) as http:
        async with streamable_http_client(f"{stage['issuer']}/mcp", http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await begins(session)
                tools = {tool.name: tool for tool in (await session.list_tools()).tools}
                assert sorted(tools) == ["notes__read", "notes__write"], tools
                assert tools["notes__read"].annotations.read_only_hint is True, tools
                read = await session.call_tool("notes__read", {"id": "n1"})
                assert not read.is_error, read
                assert read.structured_content == {"status": 200, "body": {"id": "n1", "text": "remember the milk"}}, read
                refused = await session.call_tool("notes__write", {"id": "n1", "text": "forbidden"})
                assert refused.is_error and refused.structured_content["code"] == "condition_failed", refused
                held = await session.call_tool("notes__write", {"id": "n1", "text": "ask"})
                assert held.is_error and held.structured_content["code"] == "approval_required", held
                async with httpx2.AsyncClient() as approver:
                    approval = held.structured_content["approval"]["id"]
                    (await approver.post(stage["approver"], content=approval, timeout=30)).raise_for_status()
                done = await session.call_tool("notes__write", {"id": "n1", "text": "ask"})
                assert not done.is_error and done.structured_content["status"] == 200, done
                return session.protocol_version


async def door_with_handshake(stage):
    assert await at_the_door(stage, lambda session: session.initialize()) == "2025-11-25"


async def door_without(stage):
    assert await at_the_door(stage, lambda session: session.discover()) == "2026-07-28"


async def steps_up(stage):
    kept = Kept()
    await calls(stage, application(stage, kept), "read_note", "write_note", "read_note")
    assert set(kept.tokens.scope.split()) == {"notes.read", "notes.write"}, kept.tokens.scope
    return kept.tokens.scope


async def with_secret(stage):
    agent = stage["secret"]
    provider = ClientCredentialsOAuthProvider(
        stage["mcp"], Kept(), agent["client_id"], agent["client_secret"], scope="notes.read", issuer=stage["issuer"]
    )
    await calls(stage, provider, "read_note")


async def with_key(stage):
    agent = stage["key"]
    signed = SignedJWTParameters(
        issuer=agent["client_id"], subject=agent["client_id"], signing_key=agent["pem"], signing_algorithm="ES256"
    )
    provider = PrivateKeyJWTOAuthProvider(
        stage["mcp"],
        Kept(),
        agent["client_id"],
        signed.create_assertion_provider(),
        scope="notes.read",
        issuer=stage["issuer"],
    )
    await calls(stage, provider, "read_note")


FLOWS = {
    "registers itself, logs in, calls, refreshes": registers,
    "is a document, logs in, calls": document,
    "steps up where a call needs more": steps_up,
    "client credentials with a secret": with_secret,
    "client credentials with a key": with_key,
    "Placet's own tools, with a handshake": door_with_handshake,
    "Placet's own tools, without": door_without,
}


async def main():
    stage = json.load(sys.stdin)
    for name, flow in FLOWS.items():
        line = {"name": name}
        try:
            line["told"] = await asyncio.wait_for(flow(stage), 60)
        except BaseException:  # noqa: BLE001, the next flow is run whatever this one met
            line["failed"] = traceback.format_exc()
        print(json.dumps(line), flush=True)


asyncio.run(main())
