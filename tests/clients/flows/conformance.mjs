// `@modelcontextprotocol/conformance`: its suite for authorization servers, for both revisions of MCP. It waits for
// somebody to follow a link; here a person does.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";

const PROGRAM = new URL("../node_modules/@modelcontextprotocol/conformance/dist/index.js", import.meta.url).pathname;

export const flows = ["2025-11-25", "2026-07-28"].map((version) => ({
    name: `conformance: authorization, ${version}`,
    run: (stage) => passes(stage, version),
}));

async function passes(stage, version) {
    const client = await stage.placet.agent({
        agent_name: `conformance-${version}`,
        allowed_tools: ["notes.*"],
        default_scopes: ["notes.read"],
        redirect_uris: ["http://127.0.0.1/callback"],
        token_endpoint_auth_method: "none",
    });
    const out = join(stage.placet.directory, `conformance-${version}`);
    const child = stage.spawned(process.execPath, [PROGRAM, "authorization", "--url", stage.placet.issuer,
        "--client-id", client.client_id, "--resource", stage.notes.url, "-p", String(await freePort()),
        "--spec-version", version, "-o", out], { stdio: ["ignore", "pipe", "pipe"] });
    let printed = "";
    let answered;
    const read = (bytes) => {
        printed += bytes;
        const link = /^(http\S*\/oauth\/authorize\?\S+)$/m.exec(printed)?.[1];
        if (link === undefined) return;
        answered ??= stage.person.answers(link).then((back) => fetch(back)).catch((error) => {
            // It would wait minutes for somebody.
            child.kill();
            return error;
        });
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    const code = await new Promise((resolve) => child.once("exit", resolve));
    const answer = await answered;
    if (answer instanceof Error) throw answer;
    assert.equal(code, 0, printed);
    const checks = await results(out);
    assert.deepEqual(checks.filter((check) => check.status !== "SUCCESS"), [], printed);
    const passed = checks.map((check) => check.id);
    for (const id of ["authorization-server-metadata", "authorization-server-metadata-cimd"]) assert(passed.includes(id), printed);
    assert(passed.some((id) => id.startsWith("authorization-code-grant")), passed.join());
    return `${checks.length} checks, no warning`;
}

/** Every check that the program has written down. */
export async function results(directory) {
    const files = await readdir(directory, { recursive: true });
    const read = files.filter((name) => name.endsWith("checks.json")).map((name) => readFile(join(directory, name), "utf8"));
    return (await Promise.all(read)).flatMap((text) => JSON.parse(text));
}

async function freePort() {
    const server = createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
}
