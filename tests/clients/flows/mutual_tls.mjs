// `oauth4webapi` over mutual TLS (RFC 8705): a certificate of its own instead of a secret, at the places that the metadata
// names for that, and a token that is of no use without it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate, createHash, createPublicKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as oauth from "oauth4webapi";

const lax = { [oauth.allowInsecureRequests]: true };

export const flows = [{ name: "oauth4webapi: mutual TLS with a certificate of its own", run: certified }];

/** A certificate that nobody else certified, and its key. */
function own() {
    const directory = mkdtempSync(join(tmpdir(), "placet-certificate-"));
    const at = (name) => join(directory, name);
    try {
        execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=own", "-keyout", at("key.pem"), "-out", at("own.pem")], { stdio: ["ignore", "ignore", "pipe"] });
        return { cert: readFileSync(at("own.pem")), key: readFileSync(at("key.pem")) };
    } finally {
        rmSync(directory, { recursive: true });
    }
}

/** The `fetch` of a client that shows this certificate. */
const showing = (tls) => (url, { method, headers, body }) =>
    new Promise((resolve, reject) => {
        const sent = request(url, { method, headers, servername: "localhost", agent: false, ...tls }, async (answer) => {
            const pieces = [];
            for await (const piece of answer) pieces.push(piece);
            resolve(new Response(Buffer.concat(pieces), { status: answer.statusCode, headers: answer.headers }));
        });
        sent.once("error", reject);
        sent.end(body?.toString());
    });

async function certified(stage) {
    const issuer = new URL(stage.placet.issuer);
    const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...lax }));
    const [mine, others] = [own(), own()];
    const jwk = createPublicKey(mine.cert).export({ format: "jwk" });
    const made = await stage.placet.agent({ agent_name: "certified", allowed_tools: ["notes.*"],
        token_endpoint_auth_method: "self_signed_tls_client_auth", jwks: { keys: [jwk] } });
    const client = { client_id: made.client_id, use_mtls_endpoint_aliases: true };
    const ca = readFileSync(stage.documents.authority);
    const with_ = (tls) => ({ [oauth.customFetch]: showing({ ca, ...tls }), ...lax });
    const ask = async (options) => {
        const response = await oauth.clientCredentialsGrantRequest(as, client, oauth.TlsClientAuth(), { scope: "notes.read" }, options);
        return oauth.processClientCredentialsResponse(as, client, response);
    };
    const given = await ask(with_(mine));
    const thumbprint = createHash("sha256").update(new X509Certificate(mine.cert).raw).digest("base64url");
    const response = await oauth.introspectionRequest(as, client, oauth.TlsClientAuth(), given.access_token, with_(mine));
    const about = await oauth.processIntrospectionResponse(as, client, response);
    assert.deepEqual(about.cnf, { "x5t#S256": thumbprint });
    const door = new URL("/v1/actions", as.mtls_endpoint_aliases.token_endpoint);
    const act = (options) => oauth.protectedResourceRequest(given.access_token, "POST", door,
        new Headers({ "content-type": "application/json" }),
        JSON.stringify({ service: "notes", action: "notes.read", params: { id: "n1" } }), options);
    const answer = await act(with_(mine));
    assert.equal(answer.status, 200, await answer.clone().text());
    for (const wrong of [{}, others]) {
        await assert.rejects(ask(with_(wrong)), (error) => error.error === "invalid_client" || error.status === 401);
        await assert.rejects(act(with_(wrong)), (error) => error.status === 401);
    }
    return `a token bound to ${thumbprint.slice(0, 8)}…, at the aliases`;
}
