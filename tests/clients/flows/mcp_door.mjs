// Placet's own MCP door, from both lines of the TypeScript SDK and in both revisions of the protocol: tools are listed and
// called, refused, held and released, and a client that lacks a scope gets it by asking its person.

import assert from "node:assert/strict";
import { Application, asked, lines, slug } from "./mcp_typescript.mjs";

const [[, installed], [, newest]] = lines;
const NEWEST = { versionNegotiation: { mode: { pin: "2026-07-28" } } };
const clients = [
    ["mcp sdk 1", installed, {}],
    ["mcp client 2", newest, {}],
    ["mcp client 2 without a handshake", newest, NEWEST],
];

export const flows = [
    ...clients.flatMap(([line, sdk, options]) => [
        { name: `${line}: Placet's own tools`, run: (stage) => calls(stage, sdk, options, line) },
        { name: `${line}: Placet's own tools, steps up where a call needs more`, run: (stage) => stepsUp(stage, sdk, options) },
    ]),
    { name: "mcp client 2 without a handshake: asks its user while people decide", run: asksItsUser },
];

const url = (stage) => new URL(`${stage.placet.issuer}/mcp`);

async function session(stage, sdk, options, handle, scope) {
    const made = await stage.placet.agent({ agent_name: handle, allowed_tools: ["notes.*"] });
    const authProvider = new sdk.ClientCredentialsProvider({
        clientId: made.client_id,
        clientSecret: made.client_secret,
        expectedIssuer: stage.placet.issuer,
        scope,
    });
    const client = new sdk.Client({ name: "editor", version: "1.0.0" }, options);
    await client.connect(new sdk.StreamableHTTPClientTransport(url(stage), { authProvider }));
    return client;
}

async function calls(stage, sdk, options, line) {
    const client = await session(stage, sdk, options, `${slug(line)}-door`, "notes.read notes.write");
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map((tool) => tool.name), ["notes__read", "notes__write"]);
    assert.deepEqual(tools[0].inputSchema.required, ["id"]);
    assert.equal(tools[0].annotations.readOnlyHint, true);
    const call = (name, text) => client.callTool({ name, arguments: { id: "n1", ...(text && { text }) } });
    const read = await call("notes__read");
    assert.ok(!read.isError, JSON.stringify(read));
    assert.deepEqual(read.structuredContent, { status: 200, body: { id: "n1", text: "remember the milk" } });
    const refused = await call("notes__write", "forbidden");
    assert.deepEqual([refused.isError, refused.structuredContent.code], [true, "condition_failed"]);
    const held = await call("notes__write", "ask");
    assert.deepEqual([held.isError, held.structuredContent.code], [true, "approval_required"]);
    await stage.approves(held.structuredContent.approval.id);
    const done = await call("notes__write", "ask");
    assert.deepEqual([done.isError ?? false, done.structuredContent.status], [false, 200]);
    await assert.rejects(call("notes__burn"), (error) => error.code === -32602);
    await client.close();
    return `listed ${tools.length}, read one, was refused and held`;
}

async function stepsUp(stage, sdk, options) {
    // As at other servers: the SDK of before asks the person only where it can't refresh what it has.
    const grants = sdk === newest ? ["authorization_code", "refresh_token"] : ["authorization_code"];
    const application = new Application({ grant_types: grants, scope: "notes.read" });
    const connect = async () => {
        const transport = new sdk.StreamableHTTPClientTransport(url(stage), { authProvider: application });
        const client = new sdk.Client({ name: "editor", version: "1.0.0" }, options);
        return { client, transport, connected: client.connect(transport) };
    };
    const first = await connect();
    await asked(stage, sdk, application, first.transport, first.connected);
    const { client, transport, connected } = await connect();
    await connected;
    assert.deepEqual((await client.listTools()).tools.map((tool) => tool.name), ["notes__read"]);
    const writes = () => client.callTool({ name: "notes__write", arguments: { id: "n1", text: "hello" } });
    await asked(stage, sdk, application, transport, writes());
    const done = await writes();
    assert.ok(!done.isError, JSON.stringify(done));
    await client.close();
    return application.kept.scope;
}

async function asksItsUser(stage) {
    const options = { ...NEWEST, capabilities: { elicitation: {} } };
    const client = await session(stage, newest, options, "asking-door", "notes.write");
    let told;
    client.setRequestHandler("elicitation/create", async (request) => {
        told = request.params.message;
        await stage.approves(/apr_\w+/.exec(told)[0]);
        return { action: "accept", content: {} };
    });
    const done = await client.callTool({ name: "notes__write", arguments: { id: "n1", text: "ask" } });
    assert.ok(!done.isError, JSON.stringify(done));
    assert.match(told, /`notes.write` waits for a person's approval/);
    await client.close();
    return "one call, approved while it was waited";
}
