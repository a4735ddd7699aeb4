// What is around the server: an MCP server that its tokens are for, and a place where clients publish their documents.

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createServer as createHttps } from "node:https";
import { join } from "node:path";

async function listening(server, host) {
    await new Promise((resolve) => server.listen(0, host, resolve));
    server.unref();
    return server.address().port;
}

/** The scope that a call needs: nobody connects without the first. */
function needed(message) {
    return message?.params?.name === "write_note" ? "notes.write" : "notes.read";
}

/**
 * An MCP server with tools of two scopes. It believes nobody but the authorization server: each token is introspected
 * there, and has to be of its own audience.
 */
export class Notes {
    static async start() {
        const own = new Notes();
        own.requests = [];
        own.server = createHttp((request, response) => {
            own.#answer(request, response).catch((error) => {
                console.error(error);
                response.destroy(error);
            });
        });
        own.origin = `http://127.0.0.1:${await listening(own.server, "127.0.0.1")}`;
        own.url = `${own.origin}/mcp`;
        return own;
    }

    /** Tokens are from this issuer; `credentials` are those of the resource server there. */
    trusts(issuer, credentials) {
        Object.assign(this, { issuer, credentials });
    }

    async #answer(request, response) {
        const wellKnown = "/.well-known/oauth-protected-resource";
        const path = new URL(request.url, this.origin).pathname;
        if (path === `${wellKnown}/mcp`) {
            const document = { resource: this.url, authorization_servers: [this.issuer], scopes_supported: ["notes.read"] };
            return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
        }
        if (path !== "/mcp") return response.writeHead(404).end();
        const body = await text(request);
        const message = body === "" ? undefined : JSON.parse(body);
        const scope = needed(message);
        const where = `resource_metadata="${this.origin}${wellKnown}/mcp", scope="${scope}"`;
        const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
        const about = token === undefined ? undefined : await this.#introspected(token);
        if (!about?.active) {
            const error = token === undefined ? "" : 'error="invalid_token", ';
            return response.writeHead(401, { "www-authenticate": `Bearer ${error}${where}` }).end();
        }
        if (!about.scope.split(" ").includes(scope)) {
            return response.writeHead(403, { "www-authenticate": `Bearer error="insufficient_scope", ${where}` }).end();
        }
        if (request.method !== "POST") return response.writeHead(405, { allow: "POST" }).end();
        this.requests.push({ method: message.method, tool: message.params?.name, client: about.client_id, user: about.sub });
        const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
        const server = new McpServer({ name: "notes", version: "1.0.0" });
        for (const name of ["read_note", "write_note"]) {
            server.registerTool(name, { description: name }, async () => ({ content: [{ type: "text", text: `${name}: done` }] }));
        }
        await server.connect(transport);
        response.on("close", () => transport.close());
        await transport.handleRequest(request, response, message);
    }

    async #introspected(token) {
        const { client_id: id, client_secret: secret } = this.credentials;
        const response = await fetch(`${this.issuer}/oauth/introspect`, {
            method: "POST",
            headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
            body: new URLSearchParams({ token }),
        });
        if (!response.ok) throw new Error(`introspection answered ${response.status}`);
        return response.json();
    }

    stop() {
        this.server.closeAllConnections();
        this.server.close();
    }
}

async function text(request) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    return Buffer.concat(pieces).toString();
}

/** An https server at `localhost` with a certificate of an authority of its own, for clients' documents. */
export class Documents {
    static async start(directory) {
        const at = (name) => join(directory, name);
        const openssl = (...all) => execFileSync("openssl", all, { stdio: ["ignore", "ignore", "pipe"] });
        const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        openssl("req", "-x509", ...key, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-days", "2", "-subj", "/CN=clients");
        openssl("req", "-x509", ...key, "-keyout", at("own.key"), "-out", at("own.pem"), "-days", "2", "-subj", "/CN=localhost",
            "-CA", at("ca.pem"), "-CAkey", at("ca.key"),
            "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE");
        const own = new Documents();
        [own.authority, own.certificate, own.key] = ["ca.pem", "own.pem", "own.key"].map(at);
        own.published = new Map();
        const tls = { key: readFileSync(at("own.key")), cert: readFileSync(at("own.pem")) };
        own.server = createHttps(tls, (request, response) => {
            const document = own.published.get(request.url);
            if (document === undefined) return response.writeHead(404).end();
            return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
        });
        own.origin = `https://localhost:${await listening(own.server, undefined)}`;
        return own;
    }

    /** Publishes a client's metadata; answers the URL, which is its `client_id`. */
    publish(path, metadata) {
        const url = this.origin + path;
        this.published.set(path, { client_id: url, ...metadata });
        return url;
    }

    stop() {
        this.server.closeAllConnections();
        this.server.close();
    }
}
