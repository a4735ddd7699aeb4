// Envoy and Caddy, each with the configuration of `docs/forward-auth.md`, between an agent and an upstream that knows nothing
// of Placet: what they pass on, and what they tell the agent.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createPlain } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as later } from "node:timers/promises";

const page = readFileSync(new URL("../../../docs/forward-auth.md", import.meta.url), "utf8");

export const flows = [
    { name: "envoy: asks over gRPC, with the body", run: envoy },
    { name: "caddy: asks before it passes a request on", run: caddy },
];

/** The block of the page that begins so. */
function block(beginning) {
    const found = page.split(/^```\w+\n/m).find((text) => text.startsWith(beginning));
    assert.ok(found, `no block begins with ${beginning}`);
    return found.split("```")[0].trimEnd();
}

const indented = (text, by) => text.replace(/^(?=.)/gm, " ".repeat(by));

/** A port that nobody listens on. */
export async function free() {
    const server = createPlain();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
}

/** What a proxy needs: an upstream behind it, which says what it saw, credentials, and an agent's token for it. */
async function behind(stage, name) {
    const seen = [];
    const upstream = createServer(async (request, response) => {
        let body = "";
        for await (const piece of request) body += piece;
        seen.push({ method: request.method, url: request.url, headers: request.headers, body });
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ from: "upstream" }));
    });
    await new Promise((resolve) => upstream.listen(0, "127.0.0.1", resolve));
    upstream.unref();
    const audience = `https://${name}.example`;
    const server = await stage.placet.admin("POST", "/v1/resource-servers", { name, audience });
    const credentials = btoa(`${server.client_id}:${server.client_secret}`);
    const agent = await stage.placet.agent({ agent_name: `${name}-agent`, allowed_tools: ["notes.*"] });
    const asked = await fetch(`${stage.placet.issuer}/oauth/token`, {
        method: "POST",
        headers: { authorization: `Basic ${btoa(`${agent.client_id}:${agent.client_secret}`)}` },
        body: new URLSearchParams({ grant_type: "client_credentials", scope: "notes.read notes.write", resource: audience }),
    });
    const { access_token: token } = await asked.json();
    return { seen, upstream, credentials, agent, token, port: await free() };
}

/** Starts a proxy, and answers how it is asked. */
async function started(stage, world, program, argv) {
    const child = stage.spawned(program, argv, { stdio: ["ignore", "pipe", "pipe"] });
    let log = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (log += bytes));
    const ask = (method, path, { headers = {}, body, token = world.token } = {}) =>
        fetch(`http://127.0.0.1:${world.port}${path}`, {
            method,
            headers: { ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }), ...headers },
            body: body && JSON.stringify(body),
        });
    for (let tries = 0; ; tries += 1) {
        try {
            await ask("GET", "/", { token: "" });
            return { ask, stop: () => child.kill() };
        } catch (error) {
            if (child.exitCode !== null || tries > 400) throw new Error(`${program} does not answer: ${log}`, { cause: error });
            await later(50);
        }
    }
}

/** What both do alike. */
async function passes(world, ask) {
    const read = await ask("GET", "/notes/n1", { headers: { "placet-agent": "agt_forged", "placet-user": "usr_forged" } });
    assert.deepEqual([read.status, await read.json()], [200, { from: "upstream" }]);
    const [{ headers, url }] = world.seen;
    assert.equal(url, "/notes/n1");
    assert.equal(headers["placet-agent"], world.agent.client_id);
    assert.equal(headers["placet-action-name"], "notes.read");
    assert.deepEqual([headers.authorization, headers["placet-user"], headers["placet-resource-server"]], [undefined, undefined, undefined]);
    const nobody = await ask("GET", "/notes/n1", { token: "" });
    assert.deepEqual([nobody.status, (await nobody.json()).code], [401, "token_invalid"]);
    assert.equal(nobody.headers.get("www-authenticate"), 'Bearer realm="placet"');
    for (const path of ["/notes/a%2Fb", "/notes/n1;v=2", "/notes/%6e1", "/notes/n1?admin=1", "/notes//n1"]) {
        const refused = await ask("GET", path);
        assert.equal(refused.status, 403, path);
    }
    const absent = await ask("DELETE", "/notes/n1");
    assert.deepEqual([absent.status, (await absent.json()).code], [403, "not_granted"]);
    assert.equal(world.seen.length, 1);
}

async function envoy(stage) {
    const world = await behind(stage, "envoy-front");
    const at = (port) => `{address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}`;
    const cluster = (name, port) =>
        `load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: ${at(port)}}]}]}`;
    const filter = block("http_filters:").replace("http_filters:\n", "").replace("CREDENTIALS", world.credentials);
    const route = block("typed_per_filter_config:").replace("service: shop", "service: notes");
    const placet = block("- name: placet").replace("port_value: 7450", `port_value: ${stage.asksEnvoy}`);
    const configuration = `static_resources:
  listeners:
    - name: front
      address: {socket_address: {address: 127.0.0.1, port_value: ${world.port}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: front
                route_config:
                  virtual_hosts:
                    - name: notes
                      domains: ["*"]
                      routes: [{match: {prefix: /}, route: {cluster: notes}}]
${indented(route, 22)}
                http_filters:
${indented(filter, 16)}
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: notes
      type: STATIC
      ${cluster("notes", world.upstream.address().port)}
${indented(placet, 4)}
`;
    const file = join(stage.directory, "envoy.yaml");
    writeFileSync(file, configuration, { mode: 0o600 });
    const program = join(dirname(stage.python), "envoy");
    const { ask, stop } = await started(stage, world, program, ["-c", file, "--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"]);
    await passes(world, ask);
    // The body is seen, and judged.
    const write = (text, headers) => ask("PUT", "/notes/n1", { body: { text }, headers });
    assert.equal((await write("hello")).status, 200);
    assert.equal(world.seen[1].body, '{"text":"hello"}');
    const refused = await write("forbidden");
    assert.deepEqual([refused.status, (await refused.json()).code], [403, "condition_failed"]);
    const held = await write("ask");
    const { code, approval } = await held.json();
    assert.deepEqual([held.status, code, held.headers.get("placet-approval")], [403, "approval_required", approval.id]);
    await stage.approves(approval.id);
    assert.equal((await write("ask", { "placet-approval": approval.id })).status, 200);
    assert.equal(world.seen[2].headers["placet-approval"], undefined);
    assert.equal((await write("ask", { "placet-approval": approval.id })).status, 403);
    const long = await write("x".repeat(2 << 20));
    assert.equal(long.status, 413, "more than Envoy sends along");
    assert.equal(world.seen.length, 3);
    stop();
    return "passed on, refused, held and released";
}

async function caddy(stage) {
    const world = await behind(stage, "caddy-front");
    const text = block("orders.example {")
        .replace("orders.example {", `http://127.0.0.1:${world.port} {`)
        .replace("127.0.0.1:7447", new URL(stage.placet.issuer).host)
        .replace("127.0.0.1:8080", `127.0.0.1:${world.upstream.address().port}`)
        .replace("/forward-auth/shop", "/forward-auth/notes")
        .replace("CREDENTIALS", world.credentials);
    const file = join(stage.directory, "Caddyfile");
    writeFileSync(file, `{\n    admin off\n    persist_config off\n}\n${text}\n`, { mode: 0o600 });
    const program = join(dirname(stage.python), "caddy");
    const { ask, stop } = await started(stage, world, program, ["run", "--config", file, "--adapter", "caddyfile"]);
    await passes(world, ask);
    // Headers in which other proxies say it are the agent's, and taken away.
    const forged = { "x-original-method": "GET", "x-original-uri": "/notes/n1", "x-forwarded-uri": "/notes/n1", "x-forwarded-method": "GET" };
    assert.equal((await ask("GET", "/notes/n1", { headers: forged })).status, 200);
    assert.equal((await ask("DELETE", "/notes/n1", { headers: forged })).status, 403);
    const write = await ask("PUT", "/notes/n1", { body: { text: "hello" } });
    assert.deepEqual([write.status, (await write.json()).code], [403, "params_invalid"], "its body isn't seen");
    assert.equal(world.seen.length, 2);
    stop();
    return "passed on and refused";
}
