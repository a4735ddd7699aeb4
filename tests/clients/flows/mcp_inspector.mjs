// MCP Inspector as a command line, in both revisions: what a person sees who looks at Placet's door before they use it.

import assert from "node:assert/strict";
import { join } from "node:path";

const PROGRAM = new URL("../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js", import.meta.url).pathname;

export const flows = ["legacy", "modern"].map((era) => ({
    name: `mcp inspector, ${era}: lists and calls`,
    run: (stage) => looks(stage, era),
}));

async function looks(stage, era) {
    const made = await stage.placet.agent({ agent_name: `inspector-${era}`, allowed_tools: ["notes.*"] });
    const { access_token: token } = await stage.placet.tokenOf(made, "notes.read notes.write");
    const inspector = async (...flags) => {
        const all = ["--cli", `${stage.placet.issuer}/mcp`, "--protocol-era", era, "--header", `Authorization: Bearer ${token}`];
        // It keeps what it is told in its user's directory.
        const env = { PATH: process.env.PATH, HOME: join(stage.directory, `inspector-${era}`) };
        const child = stage.spawned(process.execPath, [PROGRAM, ...all, ...flags], { env, stdio: ["ignore", "pipe", "pipe"] });
        let [out, errors] = ["", ""];
        child.stdout.on("data", (bytes) => (out += bytes));
        child.stderr.on("data", (bytes) => (errors += bytes));
        const code = await new Promise((resolve) => child.once("close", resolve));
        return { code, out, errors };
    };
    const listed = await inspector("--method", "tools/list", "--strict");
    assert.equal(listed.code, 0, `${listed.out}${listed.errors}`);
    assert.deepEqual(JSON.parse(listed.out).tools.map((tool) => tool.name), ["notes__read", "notes__write"]);
    const read = await inspector("--method", "tools/call", "--tool-name", "notes__read", "--tool-arg", "id=n1");
    assert.equal(read.code, 0, `${read.out}${read.errors}`);
    assert.equal(JSON.parse(read.out).structuredContent.body.text, "remember the milk");
    const refused = await inspector("--method", "tools/call", "--tool-name", "notes__write", "--tool-arg", "id=n1", "--tool-arg", "text=forbidden");
    assert.match(refused.out + refused.errors, /condition_failed/);
    assert.notEqual(refused.code, 0, "a refusal is an error to a script");
}
