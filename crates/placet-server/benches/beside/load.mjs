// What measuring two servers in one run takes: load on each in turn, and the end of all that was begun.

import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";

/** How many times each is measured; the middle one counts. */
export const ROUNDS = 3;
/** For how long. */
export const SECONDS = 4;

const directory = await mkdtemp(join(tmpdir(), "placet-beside-"));
const endings = [() => rm(directory, { recursive: true, force: true })];

/** A directory that is gone when all has ended. */
export const place = directory;

/** What ends with the run. */
export function closing(ending) {
    endings.push(ending);
}

/** Ends all that was begun, once, the last first. */
export async function close() {
    for (const ending of endings.splice(0).reverse()) await ending();
}

// Node runs no `finally` for these.
for (const event of ["SIGINT", "SIGTERM", "SIGHUP", "uncaughtException", "unhandledRejection"]) {
    process.once(event, async (why) => {
        console.error(`ended by ${event}: ${why?.stack ?? why}`);
        await close();
        process.exit(1);
    });
}

/** Requests a second with all connections always busy, and the milliseconds that they took. */
export async function rate(server, request, connections) {
    const script = join(directory, "request.lua");
    const set = Object.entries(request.headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"`);
    const counts = 'done = function(s) print("WRONG " .. s.errors.status + s.errors.connect + s.errors.read + s.errors.timeout) end';
    await writeFile(script, ['wrk.method = "POST"', `wrk.body = [==[${request.body}]==]`, ...set, counts].join("\n"));
    const url = `http://127.0.0.1:${server.port}${request.path}`;
    const told = execFileSync("wrk", ["-t1", "--latency", `-c${connections}`, `-d${SECONDS}s`, "-s", script, url], { encoding: "utf8" });
    if (/WRONG (\d+)/.exec(told)[1] !== "0") throw new Error(told);
    const time = (part) => {
        const [, number, unit] = new RegExp(`\\s${part}%\\s+([\\d.]+)(us|ms|s)\\b`).exec(told);
        return Number(number) * { us: 0.001, ms: 1, s: 1000 }[unit];
    };
    return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(told)[1]), p50: time(50), p99: time(99) };
}

/** Milliseconds that requests took, sorted: `perSecond` of them, evenly spaced, on as many connections. */
export async function paced(server, request, perSecond, connections) {
    const headers = Object.entries({ host: "bench", ...request.headers, "content-length": request.body.length });
    const bytes = `POST ${request.path} HTTP/1.1\r\n${headers.map((pair) => pair.join(": ")).join("\r\n")}\r\n\r\n${request.body}`;
    const took = [];
    const free = [];
    let late = 0;
    const sockets = await Promise.all(Array.from({ length: connections }, () => open(server.port)));
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
    while (free.length < connections) {
        if (performance.now() > end) throw new Error(`${server.name}: ${connections - free.length} requests were not answered`);
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

/** Each server in turn, so often; the middle round of each. */
export async function inTurn(servers, asked, connections) {
    const rounds = servers.map(() => []);
    for (let round = 0; round < ROUNDS; round += 1) {
        for (const [i, server] of servers.entries()) rounds[i].push(await rate(server, asked[i], connections));
    }
    return rounds.map((own) => own.sort((one, other) => one.rate - other.rate)[Math.floor(own.length / 2)]);
}

export const at = (took, part) => took[Math.min(took.length - 1, Math.floor(took.length * part))];
export const ms = (value) => `${value.toFixed(2)} ms`;

let missed = 0;

/** Says whether a goal was reached. */
export function goal(words, reached) {
    missed += reached ? 0 : 1;
    console.log(`  ${reached ? "reached" : "MISSED "}  ${words}`);
}

/** Ends the program: with 1 where a goal was missed. */
export function finish() {
    process.exit(missed === 0 ? 0 : 1);
}
