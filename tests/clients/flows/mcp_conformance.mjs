// `@modelcontextprotocol/conformance`: what of its server suites is about the protocol and not about tools that a test server
// has, against Placet's own door. The program sends no token, so a relay adds one and changes nothing else.

import assert from "node:assert/strict";
import { createServer, request as ask } from "node:http";
import { join } from "node:path";
import { results } from "./conformance.mjs";

const PROGRAM = new URL("../node_modules/@modelcontextprotocol/conformance/dist/index.js", import.meta.url).pathname;
const SCENARIOS = {
    "2025-11-25": ["server-initialize", "ping", "logging-set-level", "completion-complete", "tools-list", "dns-rebinding-protection"],
    "2026-07-28": ["server-stateless", "completion-complete", "tools-list", "dns-rebinding-protection", "http-header-validation"],
};

export const flows = Object.entries(SCENARIOS).map(([version, scenarios]) => ({
    name: `conformance: Placet's own door, ${version}`,
    run: (stage) => passes(stage, version, scenarios),
}));

async function passes(stage, version, scenarios) {
    const made = await stage.placet.agent({ agent_name: `conforming-${version}`, allowed_tools: ["notes.*"] });
    const { access_token: token } = await stage.placet.tokenOf(made, "notes.read notes.write");
    const relay = await relayed(stage.placet.issuer, token);
    const run = async (scenario) => {
        const out = join(stage.directory, `${version}-${scenario}`);
        const all = ["server", "--url", `${relay.origin}/mcp`, "--scenario", scenario, "--spec-version", version, "-o", out];
        const child = stage.spawned(process.execPath, [PROGRAM, ...all], { stdio: ["ignore", "pipe", "pipe"] });
        let printed = "";
        for (const from of [child.stdout, child.stderr]) from.on("data", (bytes) => (printed += bytes));
        await new Promise((resolve) => child.once("close", resolve));
        const checks = await results(out);
        // What asks for the tools of its own example server can't be told here.
        const failed = checks.filter(({ status, errorMessage }) =>
            ["FAILURE", "WARNING"].includes(status) && !errorMessage?.startsWith("Not testable: "));
        assert.deepEqual(failed, [], `${scenario}: ${printed}`);
        const passed = checks.filter((check) => check.status === "SUCCESS").length;
        assert.ok(passed > 0, `${scenario}: ${printed}`);
        return `${scenario} (${passed})`;
    };
    const told = [];
    try {
        for (const scenario of scenarios) told.push(await run(scenario));
    } finally {
        relay.server.closeAllConnections();
        relay.server.close();
    }
    return told.join(", ");
}

/** Passes requests on with a token. What came from this origin is from that one, as it would be without a relay. */
async function relayed(target, token) {
    const relay = {};
    relay.server = createServer((incoming, outgoing) => {
        const headers = { ...incoming.headers, authorization: `Bearer ${token}` };
        if (headers.origin === relay.origin) headers.origin = target;
        const onward = ask(target + incoming.url, { method: incoming.method, headers }, (answer) => {
            outgoing.writeHead(answer.statusCode, answer.headers);
            answer.pipe(outgoing);
        });
        onward.once("error", (error) => outgoing.destroy(error));
        incoming.pipe(onward);
    });
    await new Promise((resolve) => relay.server.listen(0, "127.0.0.1", resolve));
    relay.server.unref();
    relay.origin = `http://127.0.0.1:${relay.server.address().port}`;
    return relay;
}
