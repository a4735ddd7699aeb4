// Programs that know nothing of Placet behind `placet run`: what they ask of a host goes through the egress door, because their
// environment says so.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const SECRET = "egress-secret-77aa";
const SERVICE = (origin) => `service: pages
base_url: ${origin}
auth: {type: bearer}
actions:
  pages.read:
    method: GET
    path: /pages/{id}
    resource: page://desk/{id}
    effect: read
    params: {type: object, properties: {id: {type: string}}, required: [id], additionalProperties: false}
`;
const POLICY = `policy: pages
applies_to: {agents: ["egress"]}
rules:
  - {name: reads pages, allow: [pages.read]}
`;
const FETCH = "fetch(process.argv[1]).then((it) => it.text()).then((text) => console.log(text))";
const HTTPX = "import sys, httpx2; print(httpx2.get(sys.argv[1]).text)";

export const flows = [
    { name: "egress door: the fetch of Node.js", run: (stage) => goes(stage, process.execPath, "-e", FETCH) },
    { name: "egress door: httpx2 of Python", run: (stage) => goes(stage, process.argv[3], "-c", HTTPX) },
];

/** An upstream with TLS that says whether it was asked with its secret; once for all flows. */
let upstream;
async function prepared({ placet, documents }) {
    const tls = { cert: readFileSync(documents.certificate), key: readFileSync(documents.key) };
    const server = createServer(tls, (request, response) => {
        const known = request.headers.authorization === `Bearer ${SECRET}`;
        response.writeHead(known ? 200 : 401, { "content-type": "application/json" }).end(JSON.stringify({ known, path: request.url }));
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    server.unref();
    const origin = `https://localhost:${server.address().port}`;
    await placet.admin("PUT", "/v1/services/pages", SERVICE(origin), "application/yaml");
    await placet.admin("PUT", "/v1/policies/pages", POLICY, "application/yaml");
    await placet.admin("POST", "/v1/connections", { name: "pages", service: "pages", auth: { type: "bearer", secret: SECRET } });
    const agent = await placet.agent({ agent_name: "egress", allowed_tools: ["pages.*"] });
    return { origin, agent };
}

async function goes(stage, ...command) {
    upstream ??= prepared(stage);
    const { origin, agent } = await upstream;
    const flags = ["--url", stage.placet.issuer, "run", "--client-id", agent.client_id, "--scope", "pages.read", "--"];
    const env = { ...process.env, PLACET_CLIENT_SECRET: agent.client_secret };
    const child = stage.spawned(process.argv[2], [...flags, ...command, `${origin}/pages/7`], { env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (said += bytes));
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 0, said);
    assert(said.includes('{"known":true,"path":"/pages/7"}'), said);
    assert(!said.includes(SECRET));
}
