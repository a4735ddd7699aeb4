// `openid-client`: the same one level up, as most web applications use it.

import assert from "node:assert/strict";
import * as client from "openid-client";

const BACK = "http://localhost:49202/callback";
const lax = { execute: [client.allowInsecureRequests] };

export const flows = [
    { name: "openid-client: registration, code flow, refresh", run: registered },
    { name: "openid-client: pushed request with a confidential client", run: pushed },
    { name: "openid-client: client credentials, introspection, revocation", run: alone },
];

async function codes(stage, config, url, verifier, state) {
    const back = new URL(await stage.person.answers(url));
    return client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state });
}

async function parameters(verifier, state) {
    return {
        redirect_uri: BACK,
        scope: "notes.read",
        state,
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
    };
}

async function registered(stage) {
    const metadata = { client_name: "Web helper", redirect_uris: [BACK], token_endpoint_auth_method: "client_secret_basic" };
    const issuer = new URL(stage.placet.issuer);
    const config = await client.dynamicClientRegistration(issuer, metadata, undefined, { algorithm: "oauth2", ...lax });
    const [verifier, state] = [client.randomPKCECodeVerifier(), client.randomState()];
    const url = client.buildAuthorizationUrl(config, await parameters(verifier, state));
    const first = await codes(stage, config, url, verifier, state);
    const second = await client.refreshTokenGrant(config, first.refresh_token);
    const third = await client.refreshTokenGrant(config, second.refresh_token, { scope: "notes.read" });
    assert.equal(third.scope, "notes.read");
    return "registered by itself, consented to, refreshed twice";
}

async function pushed(stage) {
    const made = await stage.placet.agent({ agent_name: "pushing", allowed_tools: ["notes.*"], redirect_uris: [BACK] });
    const config = await client.discovery(new URL(stage.placet.issuer), made.client_id, made.client_secret, undefined, lax);
    const [verifier, state] = [client.randomPKCECodeVerifier(), client.randomState()];
    const url = await client.buildAuthorizationUrlWithPAR(config, await parameters(verifier, state));
    assert.deepEqual([...url.searchParams.keys()].sort(), ["client_id", "request_uri"]);
    const tokens = await codes(stage, config, url, verifier, state);
    assert.equal(tokens.expiresIn() > 0, true);
    const about = await client.tokenIntrospection(config, tokens.access_token);
    assert.deepEqual([about.active, about.client_id], [true, made.client_id]);
    return "nothing of the request in the browser";
}

async function alone(stage) {
    const made = await stage.placet.agent({ agent_name: "cron", allowed_tools: ["notes.*"] });
    const config = await client.discovery(new URL(stage.placet.issuer), made.client_id, undefined,
        client.ClientSecretBasic(made.client_secret), lax);
    const tokens = await client.clientCredentialsGrant(config, { scope: "notes.read", resource: stage.notes.url });
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).aud?.toString(), stage.notes.url);
    await client.tokenRevocation(config, tokens.access_token);
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
    const more = client.clientCredentialsGrant(config, { scope: "files.read" });
    await assert.rejects(more, (error) => error.error === "invalid_scope");
    return "for itself, for a named resource";
}
