// `oidc-provider`, an OpenID provider that nobody here wrote, as the place where people sign in: declared, linked, and a whole
// sign-in by a browser that goes there, fills in its forms and comes back.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

export const flows = [
    { name: "sign-in with oidc-provider: basic authentication, RS256", run: (stage) => run(stage, "client_secret_basic", "RS256") },
    { name: "sign-in with oidc-provider: the secret in the form, ES256", run: (stage) => run(stage, "client_secret_post", "ES256") },
    { name: "sign-in with oidc-provider: EdDSA, with an access token's hash", run: (stage) => run(stage, "client_secret_basic", "EdDSA") },
];

const CHIEF = { name: "chief", password: "a long password of chief" };
const KEYS = {
    RS256: { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
    ES256: { name: "ECDSA", namedCurve: "P-256" },
    EdDSA: { name: "Ed25519" },
};

/** A browser: cookies by origin, redirects followed, forms filled in. */
export class Browser {
    #cookies = new Map();

    async open(url, form) {
        let at = new URL(url);
        for (let steps = 0; steps < 12; steps += 1) {
            const jar = this.#cookies.get(at.origin) ?? new Map();
            this.#cookies.set(at.origin, jar);
            const headers = { cookie: [...jar].map((pair) => pair.join("=")).join("; ") };
            if (form !== undefined) Object.assign(headers, { origin: at.origin, "sec-fetch-site": "same-origin" });
            const response = await fetch(at, { method: form === undefined ? "GET" : "POST", body: form, redirect: "manual", headers });
            for (const cookie of response.headers.getSetCookie()) {
                const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
                if (/max-age=0|expires=Thu, 01 Jan 1970/i.test(cookie)) jar.delete(name);
                else jar.set(name, value);
            }
            const text = await response.text();
            if (response.status < 300 || response.status > 399) return { at, status: response.status, text };
            form = undefined;
            at = new URL(response.headers.get("location"), at);
        }
        throw new Error("it leads round and round");
    }

    /** Sends the form of a page that goes to where `action` fits. */
    submit(page, action, members) {
        const forms = [...page.text.matchAll(/<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/g)];
        const form = forms.find(([, to]) => action.test(to));
        assert(form !== undefined, `no form for ${action}: ${page.text.slice(0, 2000)}`);
        const body = new URLSearchParams();
        for (const [input] of form[2].matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
            body.set(/name="([^"]*)"/.exec(input)[1], decoded(/value="([^"]*)"/.exec(input)?.[1] ?? ""));
        }
        for (const [name, value] of Object.entries(members)) body.set(name, value);
        return this.open(new URL(decoded(form[1]), page.at), body);
    }
}

export const decoded = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&amp;", "&");

let number = 0;

async function run({ placet }, auth, alg) {
    number += 1;
    const handle = `beside-${number}`;
    const pair = await crypto.subtle.generateKey(KEYS[alg], true, ["sign", "verify"]);
    const { key_ops: _, ext: __, ...key } = await crypto.subtle.exportKey("jwk", pair.privateKey);
    const jwk = { ...key, alg, use: "sig", kid: handle };
    const server = createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    server.unref();
    const issuer = `http://127.0.0.1:${server.address().port}`;
    // Of characters that are written otherwise in a form.
    const secret = "a secret+of:some/length~and%more";
    const provider = new Provider(issuer, {
        jwks: { keys: [jwk] },
        clients: [{ client_id: "placet", client_secret: secret, redirect_uris: [`${placet.pages}/sign-in/callback/${handle}`],
            token_endpoint_auth_method: auth, id_token_signed_response_alg: alg }],
        enabledJWA: { idTokenSigningAlgValues: [alg] },
        cookies: { keys: ["only here"] },
        pkce: { required: () => true },
    });
    server.on("request", provider.callback());
    try {
        return await signedIn(placet, handle, issuer, secret, auth);
    } finally {
        server.closeAllConnections();
        server.close();
    }
}

async function signedIn(placet, handle, issuer, secret, auth) {
    // The first of them is made by the token, which makes none any more from then on.
    if (number === 1) await placet.admin("POST", "/v1/users", { ...CHIEF, roles: ["administrator"] });
    const chief = await asChief(placet);
    const declared = await chief("POST", "/v1/identity-providers", { handle, issuer, client_id: "placet", client_secret: secret,
        auth, name: "Beside", password: CHIEF.password });
    await chief("POST", `/v1/identity-providers/${handle}/subjects`, { subject: "robin-there", user: "robin", password: CHIEF.password });

    const browser = new Browser();
    const stranger = await there(browser, placet, handle, issuer, "somebody-else", "/requests");
    assert.equal(stranger.status, 403);
    assert.match(stranger.text, /not linked to anybody here/);

    const robin = new Browser();
    const page = await there(robin, placet, handle, issuer, "robin-there", "/requests");
    assert.equal(page.status, 200, page.text);
    assert.equal(page.at.href, `${placet.pages}/requests`);
    const account = await robin.open(`${placet.pages}/account`);
    assert.match(account.text, /robin/);
    assert.match(account.text, /an identity provider \(here\)/);
    const { sessions } = await placet.admin("GET", "/v1/sessions?limit=1000");
    assert.equal(sessions.filter((one) => one.provider === declared.id && one.alive).length, 1);
    const ended = await placet.admin("DELETE", `/v1/identity-providers/${handle}`);
    assert.equal(ended.ended_sessions, 1);
    const after = await robin.open(`${placet.pages}/account`);
    assert.match(after.text, /<form[^>]*action="\/sign-in"/);
    assert.doesNotMatch(after.text, /robin/);
    return "there and back, once as a stranger";
}

/** Goes to a page, signs in as `login` at the provider, and comes back. */
async function there(browser, placet, handle, issuer, login, path) {
    const asked = await browser.open(placet.pages + path);
    const onward = await browser.submit(asked, new RegExp(`^/sign-in/with/${handle}$`), {});
    const url = decoded(/http-equiv="refresh" content="0; url=([^"]*)"/.exec(onward.text)[1]);
    assert(url.startsWith(`${issuer}/`), url);
    let page = await browser.open(url);
    for (const members of [{ login, password: "any" }, {}]) {
        assert.equal(page.at.origin, issuer, `${page.status} at ${page.at}: ${page.text}`);
        page = await browser.submit(page, /\/interaction\//, members);
    }
    return page;
}

async function asChief(placet) {
    const begun = await (await fetch(`${placet.issuer}/v1/sessions`, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(CHIEF),
    })).json();
    return async (method, path, body) => {
        const headers = { authorization: `Bearer ${begun.token}`, "content-type": "application/json" };
        const response = await fetch(placet.issuer + path, { method, headers, body: JSON.stringify(body) });
        const text = await response.text();
        assert(response.ok, `${path}: ${response.status} ${text}`);
        return JSON.parse(text);
    };
}
