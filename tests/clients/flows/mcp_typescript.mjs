// The TypeScript SDK of MCP, in the line of most installed clients (`@modelcontextprotocol/sdk`) and in that of the
// newest revision (`@modelcontextprotocol/client`): from the 401 of a server that they know nothing about to a call.

import assert from "node:assert/strict";
import * as newest from "@modelcontextprotocol/client";
import * as auth from "@modelcontextprotocol/sdk/client/auth.js";
import * as extensions from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const installed = { ...auth, ...extensions, Client, StreamableHTTPClientTransport };
export const lines = [["mcp sdk 1", installed], ["mcp client 2", newest]];
const BACK = "http://localhost:49203/oauth/callback";

export const flows = lines.flatMap(([line, sdk]) => [
    { name: `${line}: registers itself, logs in, calls, refreshes`, run: (stage) => logsIn(stage, sdk, {}) },
    { name: `${line}: is a document, logs in, calls, refreshes`, run: (stage) => logsIn(stage, sdk, { document: `/${slug(line)}.json` }) },
    { name: `${line}: steps up where a call needs more`, run: (stage) => stepsUp(stage, sdk) },
    { name: `${line}: one of Placet's own doors, from its challenges`, run: (stage) => atADoor(stage, sdk) },
    { name: `${line}: client credentials with a secret`, run: (stage) => withSecret(stage, sdk, line) },
    { name: `${line}: client credentials with a key`, run: (stage) => withKey(stage, sdk, line) },
]);

export function slug(line) {
    return line.replaceAll(" ", "-");
}

/** What an application keeps for the SDK; where it would open a browser, it notes the address. */
export class Application {
    constructor(metadata, clientMetadataUrl) {
        this.clientMetadataUrl = clientMetadataUrl;
        this.clientMetadata = { client_name: "Editor", redirect_uris: [BACK], token_endpoint_auth_method: "none", ...metadata };
        this.redirectUrl = BACK;
    }

    state() {
        return (this.sent = crypto.randomUUID());
    }

    clientInformation() {
        return this.information;
    }

    saveClientInformation(information) {
        this.information = information;
    }

    tokens() {
        return this.kept;
    }

    saveTokens(tokens) {
        this.kept = tokens;
    }

    discoveryState() {
        return this.discovered;
    }

    saveDiscoveryState(state) {
        this.discovered = state;
    }

    redirectToAuthorization(url) {
        this.opened = url;
    }

    saveCodeVerifier(verifier) {
        this.verifier = verifier;
    }

    codeVerifier() {
        return this.verifier;
    }
}

/** A client that is connected, as this provider sees to it. */
async function connected(stage, sdk, authProvider) {
    const transport = new sdk.StreamableHTTPClientTransport(new URL(stage.notes.url), { authProvider });
    const client = new sdk.Client({ name: "editor", version: "1.0.0" });
    await client.connect(transport);
    return { client, transport };
}

/** Does what a call needs a person for: they answer, and the SDK is told what came back. */
export async function asked(stage, sdk, application, transport, attempt) {
    await assert.rejects(attempt, (error) => error instanceof sdk.UnauthorizedError);
    const back = new URL(await stage.person.answers(application.opened));
    assert.equal(back.searchParams.get("state"), application.sent);
    // The newest takes all that came, and compares `iss`.
    await transport.finishAuth(sdk === newest ? back.searchParams : back.searchParams.get("code"));
}

async function session(stage, sdk, application) {
    const transport = new sdk.StreamableHTTPClientTransport(new URL(stage.notes.url), { authProvider: application });
    const client = new sdk.Client({ name: "editor", version: "1.0.0" });
    await asked(stage, sdk, application, transport, client.connect(transport));
    return connected(stage, sdk, application);
}

async function reads(client) {
    const result = await client.callTool({ name: "read_note", arguments: {} });
    assert.deepEqual(result.content, [{ type: "text", text: "read_note: done" }]);
}

async function logsIn(stage, sdk, { document }) {
    const metadata = { client_name: "Editor", redirect_uris: [BACK], token_endpoint_auth_method: "none" };
    const grants = { grant_types: ["authorization_code", "refresh_token"], response_types: ["code"] };
    const url = document && stage.documents.publish(document, { ...metadata, ...grants });
    const application = new Application(grants, url);
    const { client } = await session(stage, sdk, application);
    await reads(client);
    if (url === undefined) assert.match(application.information.client_id, /^agt_/);
    else assert.equal(application.information.client_id, url);
    // The token is over: the SDK refreshes it by itself.
    const { access_token: over, refresh_token: used } = application.kept;
    application.kept = { ...application.kept, access_token: `${over.slice(0, -4)}AAAA` };
    await reads(client);
    assert.notEqual(application.kept.access_token, over);
    assert.notEqual(application.kept.refresh_token, used);
    await client.close();
    return url ?? application.information.client_id;
}

async function stepsUp(stage, sdk) {
    // The SDK of before refreshes what it has when it is told that it needs more, and gives up; where it can't refresh it
    // asks the person.
    const grants = sdk === newest ? ["authorization_code", "refresh_token"] : ["authorization_code"];
    const application = new Application({ grant_types: grants });
    const { client, transport } = await session(stage, sdk, application);
    await reads(client);
    const writes = () => client.callTool({ name: "write_note", arguments: {} });
    await asked(stage, sdk, application, transport, writes());
    const result = await writes();
    assert.deepEqual(result.content, [{ type: "text", text: "write_note: done" }]);
    await client.close();
    return application.kept.scope;
}

async function atADoor(stage, sdk) {
    const door = `${stage.placet.issuer}/v1/actions`;
    const application = new Application({ scope: "notes.read" });
    const act = (action, params) => fetch(door, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${application.kept?.access_token ?? "none"}` },
        body: JSON.stringify({ service: "notes", action, params }),
    });
    const challenge = sdk.extractWWWAuthenticateParams(await act("notes.read", { id: "n1" }));
    const options = { serverUrl: door, resourceMetadataUrl: challenge.resourceMetadataUrl };
    assert.equal(await sdk.auth(application, options), "REDIRECT");
    const back = new URL(await stage.person.answers(application.opened)).searchParams;
    const came = { authorizationCode: back.get("code"), iss: back.get("iss") };
    assert.equal(await sdk.auth(application, { ...options, ...came }), "AUTHORIZED");
    assert.equal((await act("notes.read", { id: "n1" })).status, 200);
    // What it lacks is told so that it could ask for it.
    const refused = await act("notes.write", { id: "n1" });
    const { error, scope } = sdk.extractWWWAuthenticateParams(refused);
    assert.deepEqual([refused.status, error, scope], [403, "insufficient_scope", "notes.write"]);
    return "logged in, acted, told what else it would need";
}

async function withSecret(stage, sdk, line) {
    const made = await stage.placet.agent({ agent_name: `${slug(line)}-secret`, allowed_tools: ["notes.*"] });
    const provider = new sdk.ClientCredentialsProvider({
        clientId: made.client_id,
        clientSecret: made.client_secret,
        expectedIssuer: stage.placet.issuer,
        scope: "notes.read",
    });
    const { client } = await connected(stage, sdk, provider);
    await reads(client);
    await client.close();
    assert.equal(stage.notes.requests.at(-1).client, made.client_id);
}

async function withKey(stage, sdk, line) {
    const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    const made = await stage.placet.agent({
        agent_name: `${slug(line)}-key`,
        allowed_tools: ["notes.*"],
        token_endpoint_auth_method: "private_key_jwt",
        jwks: { keys: [{ kty, crv, x, y, alg: "ES256", use: "sig" }] },
    });
    const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", pair.privateKey)).toString("base64");
    const provider = new sdk.PrivateKeyJwtProvider({
        clientId: made.client_id,
        privateKey: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
        algorithm: "ES256",
        expectedIssuer: stage.placet.issuer,
        scope: "notes.read",
    });
    const { client } = await connected(stage, sdk, provider);
    await reads(client);
    await client.close();
    assert.equal(stage.notes.requests.at(-1).client, made.client_id);
}
