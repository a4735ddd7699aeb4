// `oauth4webapi`: every message checked as strictly as any client does.

import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";

const lax = { [oauth.allowInsecureRequests]: true };
const BACK = "http://127.0.0.1:49201/callback";
const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

export const flows = [
    { name: "oauth4webapi: registration, pushed request, DPoP, details, refresh", run: bound },
    { name: "oauth4webapi: confidential code flow, introspection, revocation", run: confidential },
    { name: "oauth4webapi: private_key_jwt with three algorithms", run: withKeys },
    { name: "oauth4webapi: token exchange to a child, whose parent then ends", run: delegated },
    { name: "oauth4webapi: from a door's 401 to its metadata and issuer", run: discovered },
];

async function server(stage, algorithm = "oauth2") {
    const issuer = new URL(stage.placet.issuer);
    const response = await oauth.discoveryRequest(issuer, { algorithm, ...lax });
    return oauth.processDiscoveryResponse(issuer, response);
}

/** Does a request with a proof again where the server wants its own nonce in that. */
async function withNonce(request) {
    try {
        return await request();
    } catch (error) {
        if (!oauth.isDPoPNonceError(error)) throw error;
        return request();
    }
}

/** A person answers a request; the checked parameters of the answer. */
async function answered(stage, as, client, url, state) {
    return oauth.validateAuthResponse(as, client, new URL(await stage.person.answers(url)), state);
}

async function bound(stage) {
    const as = await server(stage);
    const registered = await oauth.dynamicClientRegistrationRequest(as, {
        client_name: "Browser tool",
        redirect_uris: ["http://127.0.0.1/callback"],
        application_type: "native",
        token_endpoint_auth_method: "none",
        dpop_bound_access_tokens: true,
    }, lax);
    const client = await oauth.processDynamicClientRegistrationResponse(registered);
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
    const options = { DPoP, ...lax };
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const details = [{ type: "placet_action", actions: ["notes.read"], resources: ["note://desk/*"] }];
    const parameters = {
        response_type: "code",
        redirect_uri: BACK,
        scope: "notes.read",
        state,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        authorization_details: JSON.stringify(details),
    };
    const pushed = await withNonce(async () => {
        const response = await oauth.pushedAuthorizationRequest(as, client, oauth.None(), parameters, options);
        return oauth.processPushedAuthorizationResponse(as, client, response);
    });
    const url = new URL(as.authorization_endpoint);
    url.searchParams.set("client_id", client.client_id);
    url.searchParams.set("request_uri", pushed.request_uri);
    const back = await answered(stage, as, client, url, state);
    const first = await withNonce(async () => {
        const response = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), back, BACK, verifier, options);
        return oauth.processAuthorizationCodeResponse(as, client, response);
    });
    assert.equal(first.token_type, "dpop");
    assert.deepEqual(first.authorization_details, details);
    // Some clients refresh as soon as they have the token.
    const second = await withNonce(async () => {
        const response = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), first.refresh_token, options);
        return oauth.processRefreshTokenResponse(as, client, response);
    });
    assert.notEqual(second.refresh_token, first.refresh_token);
    const answer = await withNonce(() => act(stage, second.access_token, "n1", options));
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.deepEqual((await answer.json()).result.body, { id: "n1", text: "remember the milk" });
    // Without the key it is of no use.
    await assert.rejects(act(stage, second.access_token, "n1", lax), (error) => error.status === 401);
    return `a token bound to ${second.token_type}, after a refresh and an action`;
}

function act(stage, token, id, options) {
    const body = JSON.stringify({ service: "notes", action: "notes.read", params: { id } });
    const headers = new Headers({ "content-type": "application/json" });
    const url = new URL(`${stage.placet.issuer}/v1/actions`);
    return oauth.protectedResourceRequest(token, "POST", url, headers, body, options);
}

async function confidential(stage) {
    const as = await server(stage, "oidc");
    const made = await stage.placet.agent({
        agent_name: "web-desk",
        allowed_tools: ["notes.*"],
        redirect_uris: [BACK],
        token_endpoint_auth_method: "client_secret_post",
    });
    const client = { client_id: made.client_id };
    const secret = oauth.ClientSecretPost(made.client_secret);
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const url = new URL(as.authorization_endpoint);
    url.search = new URLSearchParams([
        ["response_type", "code"], ["client_id", client.client_id], ["redirect_uri", BACK], ["state", state],
        ["scope", "notes.read notes.write"], ["resource", stage.notes.url], ["resource", stage.placet.issuer],
        ["code_challenge", await oauth.calculatePKCECodeChallenge(verifier)], ["code_challenge_method", "S256"],
    ]);
    const back = await answered(stage, as, client, url, state);
    const sent = await oauth.authorizationCodeGrantRequest(as, client, secret, back, BACK, verifier,
        { additionalParameters: { resource: stage.notes.url }, ...lax });
    const given = await oauth.processAuthorizationCodeResponse(as, client, sent);
    // The token is one that a resource server verifies by itself (RFC 9068), with the keys that the metadata names.
    const request = new Request(stage.notes.url, { headers: { authorization: `Bearer ${given.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(as, request, stage.notes.url, lax);
    assert.equal(claims.client_id, client.client_id);
    await assert.rejects(oauth.validateJwtAccessToken(as, request, stage.placet.issuer, lax));
    const asked = async (token) => {
        const response = await oauth.introspectionRequest(as, client, secret, token, lax);
        return oauth.processIntrospectionResponse(as, client, response);
    };
    const about = await asked(given.access_token);
    assert.deepEqual([about.active, about.scope, about.sub], [true, "notes.read notes.write", claims.sub]);
    const revoked = await oauth.revocationRequest(as, client, secret, given.refresh_token, lax);
    await oauth.processRevocationResponse(revoked);
    assert.deepEqual(await asked(given.access_token), { active: false });
    const again = await oauth.refreshTokenGrantRequest(as, client, secret, given.refresh_token, lax);
    await assert.rejects(oauth.processRefreshTokenResponse(as, client, again), (error) => error.error === "invalid_grant");
    // What the person does not want is told in the words of the standard.
    const refused = new URL(await stage.person.answers(url, "deny"));
    assert.throws(() => oauth.validateAuthResponse(as, client, refused, state), (error) => error.error === "access_denied");
    return "introspected, verified offline, revoked, denied";
}

async function withKeys(stage) {
    const as = await server(stage);
    for (const algorithm of ["ES256", "Ed25519", "PS256"]) {
        const keys = await oauth.generateKeyPair(algorithm);
        const jwk = await crypto.subtle.exportKey("jwk", keys.publicKey);
        delete jwk.key_ops;
        delete jwk.ext;
        const made = await stage.placet.agent({
            agent_name: `headless-${algorithm.toLowerCase()}`,
            allowed_tools: ["notes.*"],
            token_endpoint_auth_method: "private_key_jwt",
            jwks: { keys: [{ ...jwk, kid: "own" }] },
        });
        const client = { client_id: made.client_id };
        const auth = oauth.PrivateKeyJwt({ key: keys.privateKey, kid: "own" });
        const sent = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: "notes.read" }, lax);
        const given = await oauth.processClientCredentialsResponse(as, client, sent);
        const about = await oauth.introspectionRequest(as, client, auth, given.access_token, lax);
        assert.equal((await oauth.processIntrospectionResponse(as, client, about)).active, true, algorithm);
    }
    return "ES256, Ed25519, PS256";
}

async function delegated(stage) {
    const as = await server(stage);
    const agent = async (name) => {
        const made = await stage.placet.agent({ agent_name: name, allowed_tools: ["notes.*"] });
        return { client: { client_id: made.client_id }, secret: oauth.ClientSecretBasic(made.client_secret) };
    };
    const [parent, child] = [await agent("parent"), await agent("child")];
    const above = await oauth.processClientCredentialsResponse(as, parent.client,
        await oauth.clientCredentialsGrantRequest(as, parent.client, parent.secret, { scope: "notes.*" }, lax));
    const exchange = async (scope) => {
        const parameters = { subject_token: above.access_token, subject_token_type: ACCESS_TOKEN, scope };
        const response = await oauth.genericTokenEndpointRequest(as, child.client, child.secret, TOKEN_EXCHANGE, parameters, lax);
        return oauth.processGenericTokenEndpointResponse(as, child.client, response);
    };
    const below = await exchange("notes.read");
    assert.deepEqual([below.issued_token_type, below.scope], [ACCESS_TOKEN, "notes.read"]);
    const request = new Request(stage.placet.issuer, { headers: { authorization: `Bearer ${below.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(as, request, stage.placet.issuer, lax);
    assert.deepEqual(claims.act, { sub: child.client.client_id, act: { sub: parent.client.client_id } });
    await assert.rejects(exchange("files.read"), (error) => error.error === "invalid_scope");
    await oauth.processRevocationResponse(
        await oauth.revocationRequest(as, parent.client, parent.secret, above.access_token, lax));
    const about = await oauth.introspectionRequest(as, child.client, child.secret, below.access_token, lax);
    assert.deepEqual(await oauth.processIntrospectionResponse(as, child.client, about), { active: false });
    await assert.rejects(exchange("notes.read"), (error) => ["invalid_request", "invalid_grant"].includes(error.error));
    return "narrowed, then ended with its parent";
}

async function discovered(stage) {
    const door = new URL(`${stage.placet.issuer}/v1/actions`);
    const challenge = await fetch(door, { method: "POST", body: "{}" });
    assert.equal(challenge.status, 401);
    const [, metadata] = /resource_metadata="([^"]+)"/.exec(challenge.headers.get("www-authenticate"));
    const response = await oauth.resourceDiscoveryRequest(door, lax);
    assert.equal(response.url, metadata);
    const resource = await oauth.processResourceDiscoveryResponse(door, response);
    assert.deepEqual(resource.authorization_servers, [stage.placet.issuer]);
    const as = await server(stage);
    assert.equal(as.issuer, resource.authorization_servers[0]);
    return "401, protected resource metadata, server metadata";
}
