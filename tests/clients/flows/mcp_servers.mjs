// MCP servers of others behind Placet: the file system's as a program, and the one that has everything both as a program and
// over streamable HTTP. Their tools are looked at, accepted, listed and called through Placet's own door.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { mkdtemp, readFile, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { Placet } from "../placet.mjs";

const OF = (name) => new URL(`../node_modules/@modelcontextprotocol/${name}/dist/index.js`, import.meta.url).pathname;

export const flows = [
    { name: "mcp servers: the file system's, as a program", run: (stage) => behind(stage, "files", filesystem) },
    { name: "mcp servers: everything, as a program", run: (stage) => behind(stage, "every", everything) },
    { name: "mcp servers: everything, over streamable HTTP", run: (stage) => behind(stage, "web", everything) },
];

const POLICY = `policy: servers
applies_to: {agents: ["*"]}
rules:
  - {name: all, allow: ["files.**", "every.**", "web.**"]}
  - {name: no moving, deny: [files.move_file]}
`;

async function behind(stage, service, calls) {
    const shared = await realpath(await mkdtemp(join(stage.directory, "shared-")));
    const commands = join(shared, "..", `${service}.yaml`);
    const command = (...line) => `{command: ${JSON.stringify([process.execPath, ...line])}}`;
    await writeFile(commands, `files: ${command(OF("server-filesystem"), shared)}\nevery: ${command(OF("server-everything"), "stdio")}\n`);
    let at = `{command: ${service}}`;
    if (service === "web") at = `{url: "${await overHttp(stage)}"}\nauth: {type: bearer}`;
    const placet = await Placet.start(stage.program, ["--mcp-commands", commands]);
    try {
        await placet.admin("PUT", `/v1/services/${service}`, `service: ${service}\nmcp: ${at}\nresources: {}\n`, "application/yaml");
        await placet.admin("PUT", "/v1/policies/servers", POLICY, "application/yaml");
        await placet.admin("POST", "/v1/connections", { name: service, service, auth: { type: "bearer", secret: "secret-of-the-server" } });
        const path = `/v1/services/${service}/tools`;
        const { tools } = await placet.admin("POST", path, {});
        const good = tools.filter((tool) => tool.problem === null);
        await placet.admin("POST", path, { accept: Object.fromEntries(good.map((tool) => [tool.tool, tool.digest])) });
        const made = await placet.agent({
            agent_name: `agent-of-${service}`, allowed_tools: [`${service}.**`], resource_access: ["mcp://**"], max_scope_level: "elevated",
        });
        const { access_token: token } = await placet.tokenOf(made, `${service}.**`);
        const ask = async (method, params) => {
            const response = await fetch(`${placet.issuer}/mcp`, {
                method: "POST",
                headers: {
                    authorization: `Bearer ${token}`, "content-type": "application/json",
                    accept: "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25",
                },
                body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
            });
            const answer = await response.json();
            assert.ok(answer.result, `${method}: ${JSON.stringify(answer)}`);
            return answer.result;
        };
        const listed = (await ask("tools/list", {})).tools.map((tool) => tool.name);
        await calls((name, args) => ask("tools/call", { name: `${service}__${name}`, arguments: args }), listed, service, shared);
        const beside = service === "files" ? "" : `, ${await besides(ask, service)}`;
        const refused = tools.filter((tool) => tool.problem !== null).map((tool) => `${tool.tool}: ${tool.problem}`);
        return `${listed.length} tools${beside}${refused.length > 0 ? `; not taken: ${refused.join("; ")}` : ""}`;
    } catch (error) {
        throw new Error(`${error.message}\n${placet.log}`, { cause: error });
    } finally {
        await placet.stop();
    }
}

async function filesystem(call, listed, _, shared) {
    assert.ok(listed.includes("files__read_text_file") && listed.includes("files__write_file"), listed.join(" "));
    assert.ok(!listed.includes("files__move_file"), "what a rule forbids is not listed");
    const path = join(shared, "note.txt");
    const written = await call("write_file", { path, content: "remember the milk" });
    assert.ok(!written.isError, JSON.stringify(written));
    assert.equal(await readFile(path, "utf8"), "remember the milk");
    assert.match(JSON.stringify(await call("read_text_file", { path })), /remember the milk/);
    const outside = await call("read_text_file", { path: "/etc/hostname" });
    assert.equal(outside.isError, true, JSON.stringify(outside));
    const moved = await call("move_file", { source: path, destination: `${path}.gone` });
    assert.equal(moved.structuredContent.code, "forbidden");
    assert.equal(await readFile(path, "utf8"), "remember the milk");
}

async function everything(call, listed, service) {
    assert.ok(listed.includes(`${service}__echo`) && listed.includes(`${service}__get-sum`), listed.join(" "));
    assert.match(JSON.stringify(await call("echo", { message: "hello" })), /Echo: hello/);
    assert.match(JSON.stringify(await call("get-sum", { a: 2, b: 40 })), /42/);
    const wrong = await call("get-sum", { a: "2", b: 40 });
    assert.equal(wrong.structuredContent.code, "params_invalid");
}

/** What there is beside tools: prompts that can be got, and resources that can be read. */
async function besides(ask, service) {
    const { prompts } = await ask("prompts/list", {});
    const plain = prompts.find((prompt) => !prompt.arguments.some((argument) => argument.required));
    assert.match(plain?.name ?? "none", new RegExp(`^${service}__`));
    const { messages } = await ask("prompts/get", { name: plain.name });
    assert.ok(messages.length > 0, plain.name);
    const { resources } = await ask("resources/list", {});
    assert.ok(resources.length > 0 && resources.every(({ uri }) => uri.startsWith(`mcp://${service}/resources/`)), JSON.stringify(resources));
    const { contents } = await ask("resources/read", { uri: resources[0].uri });
    assert.equal(contents[0].uri, resources[0].uri);
    return `${prompts.length} prompts, ${resources.length} resources`;
}

/** The server that has everything on a port of this machine; answers where. */
async function overHttp(stage) {
    const probe = createServer();
    const port = await new Promise((resolve) => probe.listen(0, "127.0.0.1", () => resolve(probe.address().port)));
    await new Promise((resolve) => probe.close(resolve));
    const env = { ...process.env, PORT: String(port) };
    const child = stage.spawned(process.execPath, [OF("server-everything"), "streamableHttp"], { env, stdio: "ignore" });
    for (let tries = 0; ; tries += 1) {
        try {
            await fetch(`http://127.0.0.1:${port}/mcp`);
            return `http://127.0.0.1:${port}/mcp`;
        } catch (error) {
            if (child.exitCode !== null || tries > 600) throw new Error("the server did not start", { cause: error });
            await later(50);
        }
    }
}
