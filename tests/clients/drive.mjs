// Starts the server with what is around it, runs every flow of other people's clients against it, says what came of each,
// and ends with 0 only if all went as they should.
//
//     node drive.mjs PLACET PYTHON [PART OF A NAME]

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import * as browser from "./flows/browser.mjs";
import * as connect from "./flows/connect.mjs";
import * as conformance from "./flows/conformance.mjs";
import * as conforming from "./flows/mcp_conformance.mjs";
import * as conformingBehind from "./flows/mcp_conforming.mjs";
import * as door from "./flows/mcp_door.mjs";
import * as egress from "./flows/egress.mjs";
import * as inspector from "./flows/mcp_inspector.mjs";
import * as servers from "./flows/mcp_servers.mjs";
import * as mcp from "./flows/mcp_typescript.mjs";
import * as mutualTls from "./flows/mutual_tls.mjs";
import * as oauth4webapi from "./flows/oauth4webapi.mjs";
import * as openidClient from "./flows/openid_client.mjs";
import * as proxies from "./flows/proxies.mjs";
import * as signIn from "./flows/sign_in.mjs";
import * as webSocket from "./flows/websocket.mjs";
import { Person } from "./person.mjs";
import { Placet } from "./placet.mjs";
import { Documents, Notes } from "./places.mjs";

const [program, python, only = ""] = process.argv.slice(2);
/** How long one flow may take, in milliseconds. */
const BOUND = 60_000;

const PASSWORD = "a long password of robin";
const APPROVER = "a long password of quinn";
const SECRET = "upstream-secret-31f0";
const SERVICE = (origin) => `service: notes
base_url: ${origin}
auth: {type: bearer}
actions:
  notes.read:
    method: GET
    path: /notes/{id}
    resource: note://desk/{id}
    effect: read
    params: {type: object, properties: {id: {type: string}}, required: [id], additionalProperties: false}
  notes.write:
    method: PUT
    path: /notes/{id}
    resource: note://desk/{id}
    effect: write
    params: {type: object, properties: {id: {type: string}, text: {type: string}}, required: [id], additionalProperties: false}
`;
const POLICY = `policy: notes
applies_to: {agents: ["*"]}
rules:
  - {name: reads notes, allow: [notes.read]}
  - name: writes notes
    allow: [notes.write]
    when: ["params.text != 'forbidden'"]
    approve: {when: "params.text == 'ask'", by: ["role:approver"]}
`;

/** An upstream that has notes for whoever knows its secret. */
async function upstream() {
    const server = createServer((request, response) => {
        const known = request.headers.authorization === `Bearer ${SECRET}`;
        const body = known ? { id: request.url.split("/").pop(), text: "remember the milk" } : { error: "who are you?" };
        response.writeHead(known ? 200 : 401, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    await listening(server);
    return server;
}

/** Where other processes ask somebody: a text in, and out what they say to it. */
async function asking(answers) {
    const server = createServer(async (request, response) => {
        let url = "";
        for await (const piece of request) url += piece;
        try {
            response.end(await answers(url));
        } catch (error) {
            response.writeHead(500).end(String(error));
        }
    });
    await listening(server);
    return server;
}

async function listening(server) {
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    server.unref();
}

const origin = (server) => `http://127.0.0.1:${server.address().port}`;

async function staged(directory, closing) {
    const documents = await Documents.start(directory);
    closing.push(() => documents.stop());
    const notes = await Notes.start();
    closing.push(() => notes.stop());
    const shelf = await upstream();
    closing.push(() => shelf.close());
    const asksEnvoy = await proxies.free();
    const placet = await Placet.start(program, ["--ext-authz-listen", `127.0.0.1:${asksEnvoy}`, "--loopback-documents", "--upstream-ca", documents.authority,
        "--egress-listen", "127.0.0.1:0", "--mtls-listen", "127.0.0.1:0", "--mtls-certificate", documents.certificate, "--mtls-key", documents.key]);
    closing.push(() => placet.stop());
    await placet.admin("POST", "/v1/users", { name: "robin", password: PASSWORD, roles: [] });
    await placet.admin("POST", "/v1/users", { name: "quinn", password: APPROVER, roles: ["approver"] });
    await placet.admin("PUT", "/v1/services/notes", SERVICE(origin(shelf)), "application/yaml");
    await placet.admin("PUT", "/v1/policies/notes", POLICY, "application/yaml");
    await placet.admin("POST", "/v1/connections", { name: "shelf", service: "notes", auth: { type: "bearer", secret: SECRET } });
    await placet.admin("PUT", "/v1/registration-template", { allowed_tools: ["notes.*"], default_scopes: ["notes.read"] });
    const server = await placet.admin("POST", "/v1/resource-servers", { name: "notes", audience: notes.url });
    notes.trusts(placet.issuer, server);
    /** A program that is ended with us, whatever it waits for. */
    const spawned = (...all) => {
        const child = spawn(...all);
        closing.push(() => child.kill("SIGKILL"));
        child.once("error", (error) => console.error(`${all[0]}: ${error.message}`));
        return child;
    };
    const approves = (approval) => placet.approves("quinn", APPROVER, approval);
    const around = { program, placet, notes, documents, spawned, approves, directory, python, asksEnvoy };
    return { ...around, person: new Person(placet.pages, "robin", PASSWORD) };
}

let failed = 0;
let ran = 0;

function says(name, began, told, error) {
    ran += 1;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    if (error === undefined) return console.log(`ok      ${name}${told === undefined ? "" : `: ${told}`} (${seconds} s)`);
    failed += 1;
    console.log(`FAILED  ${name} (${seconds} s)\n${String(error).replace(/^/gm, "        ")}`);
}

async function each(flows, stage) {
    for (const { name, run } of flows.filter((flow) => flow.name.includes(only))) {
        const began = performance.now();
        const over = later(BOUND, undefined, { ref: false }).then(() => Promise.reject(new Error("it did not end")));
        try {
            says(name, began, await Promise.race([run(stage), over]));
        } catch (error) {
            says(name, began, undefined, error.cause === undefined ? error.stack : `${error.stack}\ncaused by ${error.cause?.stack ?? error.cause}`);
        }
    }
}

/** Flows in Python, which are programs of their own: of the SDK, and of an agent framework on it. */
const PYTHON = [["mcp python", "mcp_python.py", 7], ["pydantic ai", "framework.py", 1]];

async function eachOfPython(stage, closing) {
    const wanted = PYTHON.filter(([name]) => name.includes(only));
    if (wanted.length === 0) return;
    const person = await asking((url) => stage.person.answers(url));
    const approver = await asking(stage.approves);
    closing.push(() => person.close(), () => approver.close());
    const members = { client_name: "Notebook", redirect_uris: ["http://127.0.0.1:49204/callback"], token_endpoint_auth_method: "none",
        grant_types: ["authorization_code", "refresh_token"], response_types: ["code"] };
    const secret = await stage.placet.agent({ agent_name: "python-secret", allowed_tools: ["notes.*"] });
    const door = await stage.placet.agent({ agent_name: "python-door", allowed_tools: ["notes.*"], default_scopes: ["notes.read", "notes.write"] });
    const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    const key = await stage.placet.agent({ agent_name: "python-key", allowed_tools: ["notes.*"],
        token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [{ kty, crv, x, y }] } });
    const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", pair.privateKey)).toString("base64");
    key.pem = `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`;
    const framework = await stage.placet.agent({ agent_name: "framework", allowed_tools: ["notes.*"], default_scopes: ["notes.read", "notes.write"] });
    const told = { issuer: stage.placet.issuer, mcp: stage.notes.url, person: origin(person), approver: origin(approver), secret, key, door,
        framework, document: stage.documents.publish("/python.json", members) };
    for (const [name, file, flows] of wanted) await ofPython(stage, told, name, file, flows);
}

/** One such program: a line of its output for each of its flows. */
async function ofPython(stage, told, of, file, expected) {
    const child = stage.spawned(python, [new URL(`flows/${file}`, import.meta.url).pathname], { stdio: ["pipe", "pipe", "pipe"] });
    let errors = "";
    child.stderr.on("data", (bytes) => (errors += bytes));
    child.stdin.end(JSON.stringify(told));
    let began = performance.now();
    let flows = 0;
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines) {
            let { name, told, failed } = { name: line, failed: "this is no line of a flow" };
            try {
                ({ name, told, failed } = JSON.parse(line));
            } catch {
                errors += `${line}\n`;
            }
            says(`${of}: ${name}`, began, told ?? undefined, failed);
            began = performance.now();
            flows += 1;
        }
    });
    const ended = new Promise((resolve) => child.once("close", resolve));
    const code = await Promise.race([ended, later(5 * BOUND, "a time that was too long", { ref: false })]);
    if (code !== 0 || flows !== expected) says(of, began, undefined, `it ended with ${code} after ${flows} flows\n${errors}`);
}

const directory = await mkdtemp(join(tmpdir(), "placet-clients-"));
const closing = [() => rm(directory, { recursive: true, force: true })];

/** Ends all that was begun, once, the last first. */
async function close() {
    for (const ending of closing.splice(0).reverse()) await ending();
}

// Node runs no `finally` for these.
for (const event of ["SIGINT", "SIGTERM", "SIGHUP", "uncaughtException", "unhandledRejection"]) {
    process.once(event, async (why) => {
        console.error(`ended by ${event}: ${why?.stack ?? why}`);
        await close();
        process.exit(1);
    });
}
try {
    const stage = await staged(directory, closing);
    const all = [conformance, oauth4webapi, openidClient, mutualTls, mcp, door, conforming, conformingBehind, servers, inspector,
        egress, webSocket, browser, signIn, connect, proxies];
    await each(all.flatMap(({ flows }) => flows), stage);
    await eachOfPython(stage, closing);
    if (failed > 0 && stage.placet.log !== "") console.log(`the server's log:\n${stage.placet.log}`);
} finally {
    await close();
}
console.log(`${ran - failed} of ${ran} flows went as they should`);
// Clients keep connections open; nothing waits for them.
process.exit(failed === 0 && ran > 0 ? 0 : 1);
