// WebSocket clients of others: `ws` at the proxy door, and `websockets` of Python behind `placet run`, which finds its way through
// the egress door by its environment. The upstream is the server of `ws`, which would compress if anybody agreed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";

const SECRET = "websocket-secret-52e1";
const SERVICE = (origin) => `service: chat
base_url: ${origin}
auth: {type: bearer}
actions:
  chat.open:
    method: GET
    path: /rooms/{room}
    resource: chat://rooms/{room}
    effect: read
    websocket: {protocols: [chat.v2]}
    params: {type: object, properties: {room: {type: string}}, required: [room], additionalProperties: false}
  chat.send:
    message: {of: chat.open, match: {/type: send}}
    resource: chat://rooms/{room}
    effect: write
    params:
      type: object
      properties: {room: {type: string}, text: {type: string}}
      required: [room, text]
      additionalProperties: false
`;
const POLICY = `policy: chat
applies_to: {agents: ["chat"]}
rules:
  - {name: rooms, allow: [chat.open]}
  - {name: messages, allow: [chat.send], when: ["params.text != 'forbidden'"]}
`;
const PYTHON = `
import json, sys
from websockets.sync.client import connect
with connect(sys.argv[1], subprotocols=["chat.v2"]) as room:
    assert room.subprotocol == "chat.v2", room.subprotocol
    for text in ["one", "forbidden", "two"]:
        room.send(json.dumps({"type": "send", "text": text}))
        print(room.recv())
`;

export const flows = [
    { name: "websocket: ws at the proxy door", run: atProxy },
    { name: "websocket: websockets of Python behind placet run", run: behindRun },
];

let made;
async function prepared({ placet, documents }) {
    const tls = { cert: readFileSync(documents.certificate), key: readFileSync(documents.key) };
    const server = createServer(tls);
    const rooms = new WebSocketServer({ noServer: true, perMessageDeflate: true, handleProtocols: (offered) => [...offered][0] });
    const heard = [];
    server.on("upgrade", (request, socket, head) => {
        if (request.headers.authorization !== `Bearer ${SECRET}`) return socket.end("HTTP/1.1 401 Unauthorized\r\n\r\n");
        rooms.handleUpgrade(request, socket, head, (room) => {
            room.on("message", (message) => {
                heard.push(String(message));
                room.send(JSON.stringify({ heard: JSON.parse(message), by: request.headers.authorization, over: room.extensions }));
            });
        });
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    server.unref();
    const origin = `https://localhost:${server.address().port}`;
    await placet.admin("PUT", "/v1/services/chat", SERVICE(origin), "application/yaml");
    await placet.admin("PUT", "/v1/policies/chat", POLICY, "application/yaml");
    await placet.admin("POST", "/v1/connections", { name: "chat", service: "chat", auth: { type: "bearer", secret: SECRET } });
    const agent = await placet.agent({ agent_name: "chat", allowed_tools: ["chat.*"] });
    return { origin, agent, heard };
}

async function atProxy(stage) {
    const { agent, heard } = await (made ??= prepared(stage));
    const { access_token: token } = await stage.placet.tokenOf(agent, "chat.*");
    const at = `${stage.placet.issuer.replace("http", "ws")}/proxy/chat/rooms/7`;
    const room = new WebSocket(at, "chat.v2", { headers: { authorization: `Bearer ${token}` } });
    await once(room, "open");
    assert.equal(room.protocol, "chat.v2");
    const says = async (message) => {
        room.send(JSON.stringify(message));
        return JSON.parse((await once(room, "message"))[0]);
    };
    const before = heard.length;
    const answer = await says({ text: "hello", type: "send" });
    assert.deepEqual(answer, { heard: { text: "hello", type: "send" }, by: "Bearer [scrubbed]", over: "" });
    assert.equal((await says({ type: "send", text: "forbidden" })).code, "condition_failed");
    assert.equal((await says({ type: "kick", text: "robin" })).code, "not_granted");
    assert.deepEqual(heard.slice(before), ['{"text":"hello","type":"send"}']);
    room.close(1000, "bye");
    await once(room, "close");
}

async function behindRun(stage) {
    const { origin, agent } = await (made ??= prepared(stage));
    const flags = ["--url", stage.placet.issuer, "run", "--client-id", agent.client_id, "--scope", "chat.*", "--"];
    const env = { ...process.env, PLACET_CLIENT_SECRET: agent.client_secret };
    const command = [stage.python, "-c", PYTHON, `${origin.replace("https", "wss")}/rooms/8`];
    const child = stage.spawned(process.argv[2], [...flags, ...command], { env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    let errors = "";
    child.stdout.on("data", (bytes) => (said += bytes));
    child.stderr.on("data", (bytes) => (errors += bytes));
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 0, errors);
    const lines = said.trim().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines.map((line) => line.heard?.text ?? line.code), ["one", "condition_failed", "two"], said);
    assert(!said.includes(SECRET));
}
