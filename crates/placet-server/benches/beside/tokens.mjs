// Measures Placet beside `oidc-provider` in one run on one machine: tokens by client credentials, and introspections.
//
//     node tokens.mjs PLACET
//
// Rates are those of `wrk` with as many connections as it keeps busy. Times are taken there, and again at the same rate for
// both, paced, at a part of what the slower one could do. Placet writes each token's task and grant to the disk and hashes its secrets;
// the other keeps everything in memory. Both have the whole machine while they are measured, and share it with the load.

import { spawn } from "node:child_process";
import { cpus } from "node:os";
import { Placet } from "../../../../tests/clients/placet.mjs";
import { ROUNDS, SECONDS, at, close, closing, finish, goal, inTurn, ms, paced } from "./load.mjs";

const CONNECTIONS = 64;
/** The equal load, as a part of what the slower one could do. */
const LOAD = 0.7;
const GOALS = { tokens: 5, introspections: 10 };

const [program] = process.argv.slice(2);

async function placet() {
    const server = await Placet.start(program, ["--client-rate", "4000000"], "error");
    closing(() => server.stop());
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
    closing(() => server.kill("SIGKILL"));
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

try {
    const servers = [await placet(), await peer()];
    const asked = await Promise.all(servers.map(requests));
    console.log(`${cpus().length} cores (${cpus()[0].model}), ${CONNECTIONS} connections, ${ROUNDS} rounds of ${SECONDS} s in turn, the middle one; node ${process.version}`);
    for (const what of ["tokens", "introspections"]) {
        const requests = asked.map((each) => each[what]);
        const [own, other] = await inTurn(servers, requests, CONNECTIONS);
        const load = Math.min(own.rate, other.rate) * LOAD;
        console.log(`\n${what}`);
        const times = [];
        for (const [i, server] of servers.entries()) {
            const { took, late } = await paced(server, requests[i], load, CONNECTIONS);
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
finish();
