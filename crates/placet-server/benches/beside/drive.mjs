// Measures Placet beside `oidc-provider` in one run on one machine: tokens by client credentials, and introspections.
//
//     node drive.mjs PLACET
//
// Rates are those of `wrk` with as many connections as it keeps busy. Times are taken there, and again at the same rate for
// both, paced, at a part of what the slower one could do. Placet writes each token's task and grant to the disk and hashes its secrets;
// the other keeps everything in memory. Both have the whole machine while they are measured, and share it with the load.

import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { Placet } from "../../../../tests/clients/placet.mjs";

const CONNECTIONS = 64;
const ROUNDS = 3;
const SECONDS = 4;
/** The equal load, as a part of what the slower one could do. */
const LOAD = 0.7;
const GOALS = { tokens: 5, introspections: 10 };

const [program] = process.argv.slice(2);
const directory = await mkdtemp(join(tmpdir(), "placet-beside-"));
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

async function placet() {
    const server = await Placet.start(program, ["--client-rate", "4000000"], "error");
    closing.push(() => server.stop());
    const service = `service: notes
base_url: http://127.0.0.1:9
auth: {type: bearer}
actions:
  notes.read: {method: GET, path: "/notes/{id}", resource: "note://desk/{id}", effect: read,
    params: {type: object, properties: {id: {type: string}}, required: [id], additionalProperties: false}}
`;
    await server.admin("PUT", "/v1/services/notes", service, "application/yaml");
    const made = await server.agent({ agent_name: "load", allowed_tools: ["notes.*"] });
    const port = Number(new URL(server.issuer).port);
    return { name: "placet", port, token: "/oauth/token", introspect: "/oauth/introspect", id: made.client_id, secret: made.client_secret };
}

async function peer() {
    const [id, secret] = ["load", "a-secret-of-forty-characters-or-so-84f1b2"];
    const server = spawn(process.execPath, [new URL("peer.mjs", import.meta.url).pathname, id, secret], { stdio: ["ignore", "pipe", "ignore"] });
    closing.push(() => server.kill("SIGKILL"));
    const port = await new Promise((resolve, reject) => {
        let told = "";
        server.stdout.on("data", (bytes) => {
            told += bytes;
            const line = /^(\d+)$/m.exec(told);
            if (line !== null) resolve(Number(line[1]));
        });
        server.once("exit", () => reject(new Error("oidc-provider did not start")));
    });
    return { name: "oidc-provider", port, token: "/token", introspect: "/token/introspection", id, secret };
}

/** The requests: a token for itself, and a question about one. */
async function requests(server) {
    const headers = {
        authorization: `Basic ${btoa(`${server.id}:${server.secret}`)}`,
        "content-type": "application/x-www-form-urlencoded",
    };
    const tokens = { path: server.token, headers, body: "grant_type=client_credentials&scope=notes.read" };
    const answer = await fetch(`http://127.0.0.1:${server.port}${tokens.path}`, { method: "POST", ...tokens });
    const given = await answer.json();
    if (given.scope !== "notes.read") throw new Error(`${server.name}: ${JSON.stringify(given)}`);
    const introspections = { path: server.introspect, headers, body: `token=${given.access_token}` };
    const about = await fetch(`http://127.0.0.1:${server.port}${introspections.path}`, { method: "POST", ...introspections });
    if ((await about.json()).active !== true) throw new Error(`${server.name}: the token is not active`);
    return { tokens, introspections };
}

/** Requests a second with all connections always busy, and the milliseconds that they took. */
async function rate(server, request) {
    const script = join(directory, "request.lua");
    const set = Object.entries(request.headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"`);
    const counts = 'done = function(s) print("WRONG " .. s.errors.status + s.errors.connect + s.errors.read + s.errors.timeout) end';
    await writeFile(script, ['wrk.method = "POST"', `wrk.body = "${request.body}"`, ...set, counts].join("\n"));
    const url = `http://127.0.0.1:${server.port}${request.path}`;
    const told = execFileSync("wrk", ["-t1", "--latency", `-c${CONNECTIONS}`, `-d${SECONDS}s`, "-s", script, url], { encoding: "utf8" });
    if (/WRONG (\d+)/.exec(told)[1] !== "0") throw new Error(told);
    const time = (part) => {
        const [, number, unit] = new RegExp(`\\s${part}%\\s+([\\d.]+)(us|ms|s)\\b`).exec(told);
        return Number(number) * { us: 0.001, ms: 1, s: 1000 }[unit];
    };
    return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(told)[1]), p50: time(50), p99: time(99) };
}

/** Milliseconds that requests took, sorted: `perSecond` of them, evenly spaced, on as many connections. */
async function paced(server, request, perSecond) {
    const headers = Object.entries({ host: "bench", ...request.headers, "content-length": request.body.length });
    const bytes = `POST ${request.path} HTTP/1.1\r\n${headers.map((pair) => pair.join(": ")).join("\r\n")}\r\n\r\n${request.body}`;
    const took = [];
    const free = [];
    let late = 0;
    const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(server.port)));
    for (const socket of sockets) {
        let rest = "";
        socket.setEncoding("latin1").on("data", (text) => {
            rest += text;
            const end = rest.indexOf("\r\n\r\n");
            if (end < 0) return;
            const length = /\r\ncontent-length: (\d+)/i.exec(rest.slice(0, end));
            if (length === null || !rest.startsWith("HTTP/1.1 200")) throw new Error(`${server.name}: ${rest}`);
            if (rest.length < end + 4 + Number(length[1])) return;
            rest = "";
            took.push(performance.now() - socket.since);
            free.push(socket);
        });
        free.push(socket);
    }
    const total = Math.round(perSecond * SECONDS);
    const began = performance.now();
    for (let sent = 0; sent < total; ) {
        const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * perSecond));
        for (; sent < due; sent += 1) {
            const socket = free.shift();
            // All are busy: it waits for the first that is free, and would not have to if the server were faster.
            if (socket === undefined) {
                late += 1;
                break;
            }
            socket.since = performance.now();
            socket.write(bytes);
        }
        await later(1);
    }
    const end = performance.now() + 10_000;
    while (free.length < CONNECTIONS) {
        if (performance.now() > end) throw new Error(`${server.name}: ${CONNECTIONS - free.length} requests were not answered`);
        await later(1);
    }
    for (const socket of sockets) socket.destroy();
    return { took: took.sort((one, other) => one - other), late };
}

async function open(port) {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return socket;
}

const middle = (rounds) => rounds.sort((one, other) => one.rate - other.rate)[Math.floor(rounds.length / 2)];
const at = (took, part) => took[Math.min(took.length - 1, Math.floor(took.length * part))];
const ms = (value) => `${value.toFixed(2)} ms`;

let missed = 0;

function goal(words, reached) {
    missed += reached ? 0 : 1;
    console.log(`  ${reached ? "reached" : "MISSED "}  ${words}`);
}

try {
    const servers = [await placet(), await peer()];
    const asked = await Promise.all(servers.map(requests));
    console.log(`${cpus().length} cores (${cpus()[0].model}), ${CONNECTIONS} connections, ${ROUNDS} rounds of ${SECONDS} s in turn, the middle one; node ${process.version}`);
    for (const what of ["tokens", "introspections"]) {
        const rounds = servers.map(() => []);
        for (let round = 0; round < ROUNDS; round += 1) {
            for (const [i, server] of servers.entries()) rounds[i].push(await rate(server, asked[i][what]));
        }
        const [own, other] = rounds.map(middle);
        const load = Math.min(own.rate, other.rate) * LOAD;
        console.log(`\n${what}`);
        const times = [];
        for (const [i, server] of servers.entries()) {
            const { took, late } = await paced(server, asked[i][what], load);
            times.push({ p50: at(took, 0.5), p99: at(took, 0.99) });
            const busy = [own, other][i];
            console.log(`  ${server.name.padEnd(14)} ${busy.rate.toFixed(0).padStart(6)}/s, p50 ${ms(busy.p50)}, p99 ${ms(busy.p99)}`
                + `   paced at ${load.toFixed(0)}/s: p50 ${ms(times[i].p50)}, p99 ${ms(times[i].p99)}${late > 0 ? `, ${late} waited to be sent` : ""}`);
        }
        const faster = own.rate / other.rate;
        goal(`${faster.toFixed(1)} times as many a second; the goal is ${GOALS[what]}`, faster >= GOALS[what]);
        goal(`with as many connections, p99 ${ms(own.p99)} below the other's p50 ${ms(other.p50)}`, own.p99 < other.p50);
        goal(`at the same rate, p99 ${ms(times[0].p99)} below the other's p50 ${ms(times[1].p50)}`, times[0].p99 < times[1].p50);
    }
} finally {
    await close();
}
process.exit(missed === 0 ? 0 : 1);
