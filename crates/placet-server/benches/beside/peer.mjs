// The other authorization server: `oidc-provider`, with what it has in memory and the tokens that are the fastest for it
// (opaque ones). Prints its port.

import { Provider } from "oidc-provider";

const [client_id, client_secret] = process.argv.slice(2);
const client = {
    client_id,
    client_secret,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: "client_secret_basic",
};
const provider = new Provider("http://127.0.0.1", {
    clients: [client],
    scopes: ["notes.read"],
    features: {
        clientCredentials: { enabled: true },
        introspection: { enabled: true, allowedPolicy: () => true },
        devInteractions: { enabled: false },
    },
});
const server = provider.listen(0, "127.0.0.1", () => console.log(server.address().port));
