// A client that runs in a browser: what the browser's rules (CORS) let it read of the server's answers. Node has no such
// rules; here they are applied by hand to what a browser would ask.

import assert from "node:assert/strict";

const ORIGIN = "https://tool.example";

export const flows = [{ name: "a client in a browser: what its origin may ask and read", run }];

/** Whether a browser would send a request with these headers, and let the page read the answer. */
async function reads(url, method, headers, body) {
    const preflight = await fetch(url, {
        method: "OPTIONS",
        headers: {
            origin: ORIGIN,
            "access-control-request-method": method,
            "access-control-request-headers": Object.keys(headers).sort().join(","),
        },
    });
    if (!preflight.ok || preflight.headers.get("access-control-allow-origin") !== "*") return false;
    const listed = (name) => (preflight.headers.get(name) ?? "").toLowerCase().split(",").map((item) => item.trim());
    if (method !== "GET" && method !== "POST" && !listed("access-control-allow-methods").includes(method.toLowerCase())) return false;
    const allowed = listed("access-control-allow-headers");
    if (!Object.keys(headers).every((name) => allowed.includes(name))) return false;
    const response = await fetch(url, { method, headers: { origin: ORIGIN, ...headers }, body });
    assert.equal(response.headers.get("access-control-allow-credentials"), null);
    return response.headers.get("access-control-allow-origin") === "*";
}

async function run(stage) {
    const { issuer, pages } = stage.placet;
    const version = { "mcp-protocol-version": "2025-11-25" };
    const as = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
    for (const path of ["oauth-authorization-server", "openid-configuration", "oauth-protected-resource",
        "oauth-protected-resource/v1/actions", "jwks.json"]) {
        assert(await reads(`${issuer}/.well-known/${path}`, "GET", version), path);
    }
    const json = { "content-type": "application/json" };
    assert(await reads(as.registration_endpoint, "POST", json, "{}"), "registration");
    const form = { authorization: "Basic eDp5", "content-type": "application/x-www-form-urlencoded", dpop: "x" };
    for (const endpoint of ["token_endpoint", "revocation_endpoint", "pushed_authorization_request_endpoint"]) {
        assert(await reads(as[endpoint], "POST", form, "grant_type=none"), endpoint);
    }
    // A person is asked by navigating there, never by a page's script.
    for (const page of [as.authorization_endpoint, `${pages}/sign-in`, `${pages}/consent`]) {
        assert.equal(await reads(page, "GET", {}), false, page);
        const answer = await fetch(page, { headers: { origin: ORIGIN } });
        assert.equal(answer.headers.get("access-control-allow-origin"), null, page);
    }
    for (const path of ["/v1/agents", "/v1/grants", "/v1/record", "/oauth/introspect"]) {
        assert.equal(await reads(issuer + path, "POST", form, ""), false, path);
    }
    return "metadata, registration, token, revocation; no page";
}
