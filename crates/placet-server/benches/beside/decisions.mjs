// Measures Placet beside Cerbos in one run on one machine: decisions over HTTP, by equivalent policies.
//
//     node decisions.mjs PLACET
//
// Both are asked by a service whether an agent may refund an order: ten rules, of which the third holds, with conditions on
// amount, currency and the customer. Placet is asked twice: for what would be decided (nothing is charged or
// recorded), and for a decision that is charged to a budget and on the disk, in the record, before it is answered. Cerbos
// has its decision log off, as it comes. Both have the whole machine while they are measured, and share it with the load.

import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { cpus } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { Placet } from "../../../../tests/clients/placet.mjs";
import { ROUNDS, SECONDS, close, closing, finish, goal, inTurn, ms, place } from "./load.mjs";

const CONNECTIONS = 16;
const GOALS = { asked: 8, durable: 5 };
const PARAMS = { amount: 120, currency: "USD", reason: "damaged" };

const [program] = process.argv.slice(2);

/** The conditions of both: what the third rule says, and seven others that name the action and don't hold. */
const rules = [
    ["customer == 'nobody'", "amount <= 5"],
    ["currency == 'EUR'", "amount <= 500"],
    ["currency == 'USD'", "amount <= 500", "reason != 'test'"],
    ...Array.from({ length: 7 }, (_, i) => [`currency == 'X${i}'`, `amount > ${i * 1000}`]),
];

async function placet() {
    const server = await Placet.start(program, ["--client-rate", "4000000"], "error");
    closing(() => server.stop());
    const lines = rules.map((conditions, i) => {
        const when = conditions.map((condition) => `"${condition.replace(/\b(amount|currency|reason|customer)\b/g, "params.$1")}"`);
        return `  - {name: r${i}, allow: [refunds.create], on: ["order://**"], when: [${when.join(", ")}]`
            + `${i === 2 ? ", limits: [{sum: params.amount, max: 900000000000, per: day}]" : ""}}`;
    });
    const policy = `policy: desk\nrules:\n${lines.join("\n")}\n  - {name: usd, guard: ["refunds.*"], when: "params.currency in ['USD', 'EUR']"}\n`;
    await server.admin("PUT", "/v1/policies/desk", policy, "application/yaml");
    const agent = await server.agent({ agent_name: "desk-1", allowed_tools: ["refunds.*"], max_scope_level: "elevated", resource_access: ["order://**"] });
    const audience = "https://orders.example";
    const own = await server.admin("POST", "/v1/resource-servers", { name: "orders", audience });
    const basic = (id, secret) => `Basic ${btoa(`${id}:${secret}`)}`;
    const asked = await fetch(`${server.issuer}/oauth/token`, {
        method: "POST",
        headers: { authorization: basic(agent.client_id, agent.client_secret), "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams({ grant_type: "client_credentials", scope: "refunds.create", resource: audience }),
    });
    const { access_token: token } = await asked.json();
    const question = { token, action: "refunds.create", resource: "order://customer:42/7", params: { ...PARAMS, customer: "42" } };
    const headers = { authorization: basic(own.client_id, own.client_secret), "content-type": "application/json" };
    const port = Number(new URL(server.issuer).port);
    const request = (more) => ({ path: "/v1/decisions", headers, body: JSON.stringify({ ...question, ...more }) });
    return [
        [{ name: "placet, asked", port }, request({ dry_run: true }), (answer) => answer.decision === "allow"],
        [{ name: "placet, durable", port }, request({}), (answer) => answer.decision === "allow"],
    ];
}

async function cerbos() {
    const policies = join(place, "policies");
    await mkdir(policies);
    const named = (condition) => condition.replace(/\b(amount|currency|reason|customer)\b/g, "request.resource.attr.$1");
    const policy = {
        apiVersion: "api.cerbos.dev/v1",
        resourcePolicy: {
            version: "default",
            resource: "order",
            rules: rules.map((conditions) => ({
                actions: ["refunds.create"],
                effect: "EFFECT_ALLOW",
                roles: ["desk"],
                condition: { match: { all: { of: [...conditions, "currency in ['USD', 'EUR']"].map((one) => ({ expr: named(one) })) } } },
            })),
        },
    };
    await writeFile(join(policies, "order.json"), JSON.stringify(policy));
    const [port, grpc] = [await free(), await free()];
    const set = ["server.httpListenAddr=127.0.0.1:" + port, "server.grpcListenAddr=127.0.0.1:" + grpc, "storage.driver=disk",
        "storage.disk.directory=" + policies, "telemetry.disabled=true"];
    const binary = new URL("node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64", import.meta.url).pathname;
    const server = spawn(binary, ["server", "--log-level=error", ...set.map((one) => `--set=${one}`)], { stdio: "ignore" });
    closing(() => server.kill("SIGKILL"));
    for (let tries = 0; tries < 400; tries += 1) {
        if (server.exitCode !== null) throw new Error("cerbos did not start");
        if (await fetch(`http://127.0.0.1:${port}/_cerbos/health`).then((answer) => answer.ok, () => false)) break;
        await later(25);
    }
    const body = JSON.stringify({
        principal: { id: "desk-1", roles: ["desk"] },
        resources: [{ actions: ["refunds.create"], resource: { kind: "order", id: "7", attr: { ...PARAMS, customer: "42" } } }],
    });
    const request = { path: "/api/check/resources", headers: { "content-type": "application/json" }, body };
    return [[{ name: "cerbos", port }, request, (answer) => answer.results[0].actions["refunds.create"] === "EFFECT_ALLOW"]];
}

/** A port that nobody listens on: Cerbos can't be told to say which one it picked. */
function free() {
    return new Promise((resolve, reject) => {
        const server = createServer().once("error", reject);
        server.listen(0, "127.0.0.1", () => {
            const { port } = server.address();
            server.close(() => resolve(port));
        });
    });
}

try {
    const subjects = [...(await placet()), ...(await cerbos())];
    for (const [server, request, allowed] of subjects) {
        const answer = await fetch(`http://127.0.0.1:${server.port}${request.path}`, { method: "POST", ...request });
        const told = await answer.json();
        if (!allowed(told)) throw new Error(`${server.name}: ${JSON.stringify(told)}`);
    }
    console.log(`${cpus().length} cores (${cpus()[0].model}), ${CONNECTIONS} connections, ${ROUNDS} rounds of ${SECONDS} s in turn, the middle one; node ${process.version}`);
    const [asked, durable, other] = await inTurn(subjects.map(([server]) => server), subjects.map(([, request]) => request), CONNECTIONS);
    for (const [i, { rate, p50, p99 }] of [asked, durable, other].entries()) {
        console.log(`  ${subjects[i][0].name.padEnd(16)} ${rate.toFixed(0).padStart(6)}/s, p50 ${ms(p50)}, p99 ${ms(p99)}`);
    }
    for (const [what, own] of Object.entries({ asked, durable })) {
        const faster = own.rate / other.rate;
        goal(`${what}: ${faster.toFixed(1)} times as many a second; the goal is ${GOALS[what]}`, faster >= GOALS[what]);
        goal(`${what}: p99 ${ms(own.p99)} below the other's ${ms(other.p99)}`, own.p99 < other.p99);
    }
} finally {
    await close();
}
finish();
