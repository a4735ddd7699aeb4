// `@modelcontextprotocol/conformance`: all of its server suites, in both revisions, through Placet's door with a conforming
// server behind it (`conforming.mjs`). Its tools and prompts are accepted, its resources offered, and everything is allowed.
//
// The program knows tools, prompts and resources by the names that the server gives them, and sends no token. Placet lists
// them as `conforming__NAME` and `mcp://conforming/resources/URI`, so that no two servers' collide. The relay in between adds the
// token, writes these names where the program writes the others, and takes them out of what comes back; nothing else.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { createServer, request as ask } from "node:http";
import { join } from "node:path";

const PROGRAM = new URL("../node_modules/@modelcontextprotocol/conformance/dist/index.js", import.meta.url).pathname;
const CONFORMING = new URL("../conforming.mjs", import.meta.url).pathname;
const SERVICE = "conforming";
const [NAMES, URIS] = [`${SERVICE}__`, `mcp://${SERVICE}/resources/`];

/** What is not there by design, and why (`docs/mcp.md`). */
const ASKED_OF_THE_USER = "what a server asks of its client is refused: it would speak to the user in Placet's name";
const ALONE = "every request stands alone and is judged alone: no sessions, no streams that are taken up again, no subscriptions";
const EXTENSION = "an extension that is not spoken";
const BY_DESIGN = [
    [/^tools-call-(sampling|elicitation)$|^elicitation-sep|^input-required-result-/, ASKED_OF_THE_USER],
    [/^server-session-lifecycle$|^server-sse-polling$|^resources-(un)?subscribe$/, ALONE],
    [/^tasks-|^sep-2640-/, EXTENSION],
];
/** Of the older revision alone: the program wants a session for it. */
const WITHOUT_SESSIONS = "server-sse-multiple-streams";

export const flows = ["2025-11-25", "2026-07-28"].map((version) => ({
    name: `conformance: a conforming server behind the door, ${version}`,
    run: (stage) => passes(stage, version),
}));

async function passes(stage, version) {
    const token = await behind(stage);
    const relay = await relayed(stage.placet.issuer, token);
    const out = join(stage.directory, `conforming-${version}`);
    try {
        const all = ["server", "--url", `${relay.origin}/mcp`, "--suite", "all", "--spec-version", version, "-o", out];
        const child = stage.spawned(process.execPath, [PROGRAM, ...all], { stdio: ["ignore", "pipe", "pipe"] });
        let printed = "";
        for (const from of [child.stdout, child.stderr]) from.on("data", (bytes) => (printed += bytes));
        await new Promise((resolve) => child.once("close", resolve));
        return await judged(out, version, printed);
    } finally {
        relay.server.closeAllConnections();
        relay.server.close();
    }
}

/** Each scenario went well, or is one that can't by design; and those don't. */
async function judged(out, version, printed) {
    const problems = [];
    const [passed, not] = [[], []];
    for (const name of (await readdir(out)).sort()) {
        const scenario = /^server-(.*)-\d{4}-\d\d-\d\dT/.exec(name)?.[1];
        if (scenario === undefined) continue;
        const checks = JSON.parse(await readFile(join(out, name, "checks.json"), "utf8"));
        const wrong = checks.filter(({ status, errorMessage }) =>
            ["FAILURE", "WARNING"].includes(status) && !errorMessage?.startsWith("Not testable: "));
        const fine = checks.filter((check) => check.status === "SUCCESS").length;
        const alone = version === "2025-11-25" && scenario === WITHOUT_SESSIONS;
        const known = alone || BY_DESIGN.some(([names]) => names.test(scenario));
        if (wrong.length > 0 && !known) problems.push({ scenario, wrong });
        if (wrong.length === 0 && fine === 0 && !known) problems.push({ scenario, nothing: checks });
        if (wrong.length === 0 && fine > 0) passed.push(scenario);
        if (known && (wrong.length > 0 || fine === 0)) not.push(scenario);
    }
    assert.deepEqual(problems, [], printed);
    for (const needed of ["tools-call-with-progress", "resources-templates-read", "prompts-get-with-args", "completion-complete"]) {
        assert(passed.includes(needed), `${needed}: ${printed}`);
    }
    return `${passed.length} scenarios; not by design: ${not.join(", ")}`;
}

/** Has the server listed, accepts all of it, and answers a token for it. Once for both revisions. */
async function behind(stage) {
    stage.conforming ??= (async () => {
        const child = stage.spawned(process.execPath, [CONFORMING], { stdio: ["ignore", "pipe", "inherit"] });
        const url = await new Promise((resolve, reject) => {
            child.stdout.once("data", (line) => resolve(String(line).trim()));
            child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
        });
        const { placet } = stage;
        const definition = `service: ${SERVICE}\nmcp: {url: "${url}"}\nauth: {type: bearer}\nresources: {}\n`;
        await placet.admin("PUT", `/v1/services/${SERVICE}`, definition, "application/yaml");
        const policy = `policy: ${SERVICE}\napplies_to: {agents: [${SERVICE}]}\nrules:\n  - {name: all, allow: ["${SERVICE}.**"]}\n`;
        await placet.admin("PUT", `/v1/policies/${SERVICE}`, policy, "application/yaml");
        await placet.admin("POST", "/v1/connections", { name: SERVICE, service: SERVICE, auth: { type: "bearer", secret: "secret-of-this-server" } });
        const path = `/v1/services/${SERVICE}/tools`;
        const { tools } = await placet.admin("POST", path, {});
        assert.deepEqual(tools.filter((tool) => tool.problem !== null), [], "all of it can be accepted");
        await placet.admin("POST", path, { accept: Object.fromEntries(tools.map((tool) => [tool.tool, tool.digest])) });
        const made = await placet.agent({
            agent_name: SERVICE, allowed_tools: [`${SERVICE}.**`], resource_access: ["mcp://**"], max_scope_level: "elevated",
        });
        return (await placet.tokenOf(made, `${SERVICE}.**`)).access_token;
    })();
    return stage.conforming;
}

/** A message of the program's, with the names that Placet has. */
function named(body) {
    let message;
    try {
        message = JSON.parse(body);
    } catch {
        return body;
    }
    for (const at of [message.params, message.params?.ref]) {
        if (typeof at?.name === "string") at.name = NAMES + at.name;
        if (typeof at?.uri === "string" && !at.uri.startsWith(URIS)) at.uri = URIS + at.uri;
    }
    return JSON.stringify(message);
}

function nameInHeader(headers, method) {
    const name = headers["mcp-name"];
    if (name === undefined || name === "") return headers;
    const encoded = /^=\?base64\?(.*)\?=$/.exec(name)?.[1];
    const plain = encoded === undefined ? name : Buffer.from(encoded, "base64").toString();
    // What is no base64 is none behind the relay either.
    if (encoded !== undefined && Buffer.from(plain).toString("base64") !== encoded) return headers;
    return { ...headers, "mcp-name": (method === "resources/read" ? URIS : NAMES) + plain };
}

async function relayed(target, token) {
    const relay = {};
    relay.server = createServer(async (incoming, outgoing) => {
        let body = "";
        for await (const piece of incoming.setEncoding("utf8")) body += piece;
        let headers = { ...incoming.headers, authorization: `Bearer ${token}` };
        if (headers.origin === relay.origin) headers.origin = target;
        delete headers["transfer-encoding"];
        headers = nameInHeader(headers, headers["mcp-method"]);
        if (body !== "") body = named(body);
        headers["content-length"] = Buffer.byteLength(body);
        const onward = ask(target + incoming.url, { method: incoming.method, headers }, async (answer) => {
            const back = { ...answer.headers };
            delete back["content-length"];
            outgoing.writeHead(answer.statusCode, back);
            // Whole events, and whole messages: no name is cut in two.
            let kept = "";
            for await (const piece of answer.setEncoding("utf8")) {
                kept += piece;
                const end = kept.lastIndexOf("\n\n") + 2;
                if (back["content-type"]?.startsWith("text/event-stream") && end > 1) {
                    outgoing.write(kept.slice(0, end).replaceAll(NAMES, "").replaceAll(URIS, ""));
                    kept = kept.slice(end);
                }
            }
            outgoing.end(kept.replaceAll(NAMES, "").replaceAll(URIS, ""));
        });
        onward.once("error", (error) => outgoing.destroy(error));
        outgoing.once("close", () => onward.destroy());
        onward.end(body);
    });
    await new Promise((resolve) => relay.server.listen(0, "127.0.0.1", resolve));
    relay.server.unref();
    relay.origin = `http://127.0.0.1:${relay.server.address().port}`;
    return relay;
}
