// `oidc-provider`, an authorization server that nobody here wrote, as that of an upstream: a person connects their account
// there with a browser and by a code; its refresh tokens rotate, and one that comes twice ends them all; what is revoked there
// waits for its owner, who connects it anew.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { setTimeout as later } from "node:timers/promises";
import { Provider } from "oidc-provider";
import { Browser, decoded } from "./sign_in.mjs";

export const flows = [
    { name: "accounts at oidc-provider: code and PKCE, rotation, revoked and mended", run: (stage) => at(stage, "client_secret_basic", byCode) },
    { name: "accounts at oidc-provider: a public client", run: (stage) => at(stage, "none", byCode) },
    { name: "accounts at oidc-provider: a code that is entered elsewhere", run: (stage) => at(stage, "client_secret_post", byDevice) },
];

const ROBIN = { name: "robin", password: "a long password of robin" };
const SECRET = "a secret+of:some/length~and%more";
let number = 0;

async function at({ placet }, auth, connects) {
    number += 1;
    const service = `beside${number}`;
    const server = createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    server.unref();
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const device = "urn:ietf:params:oauth:grant-type:device_code";
    const provider = new Provider(issuer, {
        clients: [{ client_id: "placet", ...(auth !== "none" && { client_secret: SECRET }), token_endpoint_auth_method: auth,
            redirect_uris: [`${placet.pages}/connect/callback/${service}`], grant_types: ["authorization_code", "refresh_token", device],
            // A public client at this machine: its redirect URI is http.
            application_type: auth === "none" ? "native" : "web" }],
        cookies: { keys: ["only here"] },
        features: { deviceFlow: { enabled: true }, revocation: { enabled: true } },
        pkce: { required: () => true },
        rotateRefreshToken: () => true,
        ttl: { AccessToken: () => 3 },
    });
    const seen = { refreshed: 0, grants: new Set(), errors: [] };
    provider.on("grant.success", (ctx) => {
        if (ctx.oidc.params.grant_type === "refresh_token") seen.refreshed += 1;
        seen.grants.add(ctx.oidc.entities.Grant?.jti ?? ctx.oidc.entities.AccessToken?.grantId);
    });
    provider.on("grant.error", (_, error) => seen.errors.push(error.error));
    server.on("request", provider.callback());
    try {
        const client = auth === "client_secret_post" ? `client_auth: ${auth}, ` : "";
        await placet.admin("PUT", `/v1/services/${service}`, `service: ${service}
base_url: ${issuer}
auth: {type: oauth2, authorization_url: "${issuer}/auth", token_url: "${issuer}/token", ${client}device_authorization_url: "${issuer}/device/auth",
    issuer: "${issuer}", iss_in_response: true, scope: [openid, offline_access], authorization_params: {prompt: consent}}
actions:
  ${service}.me: {method: GET, path: /me, resource: "${service}://me", effect: read}
`, "application/yaml");
        const registered = await placet.admin("PUT", `/v1/services/${service}/client`,
            { client_id: "placet", ...(auth !== "none" && { client_secret: SECRET }) });
        assert.equal(registered.redirect_uri, `${placet.pages}/connect/callback/${service}`);
        await placet.admin("PUT", `/v1/policies/${service}`,
            `policy: ${service}\napplies_to: {agents: ["${service}-*"]}\nrules:\n  - {name: all, allow: [${service}.me]}\n`, "application/yaml");
        return await connects({ placet, service, issuer, provider, seen, person: await signedIn(placet) });
    } finally {
        server.closeAllConnections();
        server.close();
    }
}

async function byCode(stage) {
    const { placet, service, provider, seen, person } = stage;
    const acts = await agent(stage);
    const robin = new Browser();
    const asked = await person("POST", "/v1/connect", { service });
    const connected = await connect(stage, robin, asked.url, "robin-there");
    assert.match(connected.text, /can be used from now on/, connected.text);
    const name = `${service}-robin`;
    const first = await acts();
    assert.deepEqual([first.status, first.result?.result.body], [200, { sub: "robin-there" }]);
    // A refresh token that comes twice would end them all there.
    await until(async () => {
        const { status, result } = await acts();
        assert.equal(status, 200);
        assert.equal(result.result.status, 200);
        return seen.refreshed >= 2;
    });
    assert.deepEqual(seen.errors, []);
    // The person takes it back at the provider.
    for (const grant of seen.grants) {
        await provider.AccessToken.revokeByGrantId?.(grant);
        await provider.RefreshToken.revokeByGrantId?.(grant);
        await (await provider.Grant.find(grant))?.destroy();
    }
    const refused = await until(async () => {
        const answer = await acts();
        return answer.status === 503 && answer.result.reasons?.[0]?.remedy?.connect !== undefined ? answer : undefined;
    });
    const parked = await person("GET", `/v1/connections/${name}`);
    assert.deepEqual([parked.state, parked.attention.reason], ["needs_attention", "token_refused"]);
    assert.equal(refused.result.reasons[0].remedy.connect, parked.attention.connect);
    assert.deepEqual(seen.errors, ["invalid_grant"]);
    const mended = await connect(stage, robin, parked.attention.connect, "robin-there");
    assert.match(mended.text, /can be used from now on/, mended.text);
    const after = await person("GET", `/v1/connections/${name}`);
    assert.deepEqual([after.id, after.state], [parked.id, "active"]);
    assert.equal((await acts()).result.result.status, 200);
    // Somebody who says no there connects nothing.
    const again = await person("POST", "/v1/connect", { service, name: `${service}-no` });
    const no = await connect(stage, robin, again.url, undefined);
    assert.equal(no.status, 403, no.text);
    assert.match(no.text, /access_denied/);
    return `${seen.refreshed} times renewed`;
}

async function byDevice(stage) {
    const { service, issuer, person } = stage;
    const acts = await agent(stage);
    const begun = await person("POST", "/v1/connect", { service, device: true });
    assert.equal(begun.verification_uri, `${issuer}/device`);
    const ask = () => person("POST", "/v1/connect/device", { ticket: begun.ticket });
    const browser = new Browser();
    let page = await browser.open(begun.verification_uri);
    page = await browser.submit(page, /\/device$/, { user_code: begun.user_code });
    page = await browser.submit(page, /\/device$/, { confirm: "yes", user_code: begun.user_code });
    page = await agree(issuer, browser, page, "robin-elsewhere");
    assert.equal(page.status, 200, page.text);
    const connected = await until(async () => {
        const answer = await ask();
        return answer.status === "connected" ? answer : undefined;
    });
    assert.equal(connected.connection.name, `${service}-robin`);
    const first = await acts();
    assert.deepEqual([first.status, first.result?.result.body], [200, { sub: "robin-elsewhere" }]);
}

/** An agent that acts on behalf of robin; what comes of each of its actions. */
async function agent({ placet, service, person }) {
    const made = await placet.agent({ agent_name: `${service}-agent`, description: "reads", allowed_tools: ["*", "**"], resource_access: ["**"] });
    await person("POST", "/v1/tasks", { task_id: `${service}-task`, description: "reads", agent: made.client_id, scope: [`${service}.*`] });
    const response = await fetch(`${placet.issuer}/oauth/token`, {
        method: "POST",
        headers: { authorization: `Basic ${btoa(`${made.client_id}:${made.client_secret}`)}` },
        body: new URLSearchParams({ grant_type: "client_credentials", task_id: `${service}-task` }),
    });
    const { access_token: token } = await response.json();
    assert(token !== undefined, `the token endpoint answered ${response.status}`);
    return async () => {
        const answer = await fetch(`${placet.issuer}/v1/actions`, {
            method: "POST",
            headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
            body: JSON.stringify({ service, action: `${service}.me`, params: {} }),
        });
        return { status: answer.status, result: await answer.json() };
    };
}

/** Follows a link of ours, signs in where that is asked, and goes there and back; without `login` says no there. */
async function connect({ placet, issuer }, browser, link, login) {
    let page = await browser.open(link);
    assert.equal(page.at.origin, placet.pages);
    if (/action="\/sign-in"/.test(page.text)) page = await browser.submit(page, /^\/sign-in$/, ROBIN);
    assert.match(page.text, /It is yours|takes the place/, page.text);
    const names = /id="name"[^>]*value="([^"]*)"/.exec(page.text);
    const onward = await browser.submit(page, /^\/connect\//, names === null ? {} : { name: names[1] });
    const url = decoded(/http-equiv="refresh" content="0; url=([^"]*)"/.exec(onward.text)[1]);
    assert(url.startsWith(`${issuer}/auth?`), url);
    page = await browser.open(url);
    if (login !== undefined) return agree(issuer, browser, page, login);
    const abort = /href="([^"]*\/abort)"/.exec(page.text);
    assert(abort !== null, page.text);
    return browser.open(new URL(decoded(abort[1]), page.at));
}

/** Signs in and says yes, as far as that is asked. */
async function agree(issuer, browser, page, login) {
    for (let steps = 0; steps < 4 && page.at.origin === issuer && /action="[^"]*\/interaction\//.test(page.text); steps += 1) {
        page = await browser.submit(page, /\/interaction\//, /name="login"/.test(page.text) ? { login, password: "any" } : {});
    }
    return page;
}

async function signedIn(placet) {
    const post = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const begun = await (await fetch(`${placet.issuer}/v1/sessions`, post(ROBIN))).json();
    return async (method, path, body) => {
        const headers = { authorization: `Bearer ${begun.token}`, "content-type": "application/json" };
        const response = await fetch(placet.issuer + path, { method, headers, body: body && JSON.stringify(body) });
        const text = await response.text();
        assert(response.ok, `${path}: ${response.status} ${text}`);
        return JSON.parse(text);
    };
}

/** Until it says something. The whole flow has a bound. */
async function until(what) {
    for (;;) {
        const said = await what();
        if (said) return said;
        await later(200);
    }
}
