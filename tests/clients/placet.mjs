// The real server: the `placet` program in a directory of its own, on ports that the system picks. Whoever starts it stops it.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";

export class Placet {
    /** Starts the program with these flags; it answers when this does. */
    static async start(program, flags = [], log = "warn") {
        const directory = await mkdtemp(join(tmpdir(), "placet-clients-"));
        const data = join(directory, "data");
        const all = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--log", log, ...flags];
        const child = spawn(program, all, { stdio: ["ignore", "ignore", "pipe"] });
        const own = new Placet();
        Object.assign(own, { directory, child, log: "" });
        child.stderr.on("data", (bytes) => (own.log += bytes));
        const read = async (name) => (await readFile(join(data, name), "utf8")).trim();
        for (let tries = 0; ; tries += 1) {
            try {
                own.issuer = await read("address");
                own.pages = await read("pages-address");
                own.token = await read("admin.token");
                return own;
            } catch (error) {
                if (child.exitCode !== null || tries > 600) {
                    await own.stop();
                    throw new Error(`the server did not start: ${own.log}`, { cause: error });
                }
                await later(50);
            }
        }
    }

    /** A request of the administrator's; answers the body, and fails on any other status than of success. */
    async admin(method, path, body, type = "application/json") {
        const response = await fetch(this.issuer + path, {
            method,
            headers: { authorization: `Bearer ${this.token}`, "content-type": type },
            body: body === undefined ? undefined : type === "application/json" ? JSON.stringify(body) : body,
        });
        const text = await response.text();
        if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
        return text === "" ? undefined : JSON.parse(text);
    }

    /** What the token endpoint answers an agent with its secret. */
    async tokenOf({ client_id: id, client_secret: secret }, scope) {
        const response = await fetch(`${this.issuer}/oauth/token`, {
            method: "POST",
            headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
            body: new URLSearchParams({ grant_type: "client_credentials", scope }),
        });
        if (!response.ok) throw new Error(`the token endpoint answered ${response.status}: ${await response.text()}`);
        return response.json();
    }

    /** Says yes to an approval, as a person with this name and password; answers its id. */
    async approves(name, password, approval) {
        const post = async (path, body, token) => {
            const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
            const response = await fetch(this.issuer + path, { method: "POST", headers, body: JSON.stringify(body) });
            const text = await response.text();
            if (!response.ok) throw new Error(`POST ${path} answered ${response.status}: ${text}`);
            return JSON.parse(text);
        };
        this.approver ??= (await post("/v1/sessions", { name, password })).token;
        await post(`/v1/approvals/${approval}`, { verdict: "approve" }, this.approver);
        return approval;
    }

    /** Registers an agent and activates it; answers what the administrator is told. */
    async agent(members) {
        const made = await this.admin("POST", "/v1/agents", members);
        await this.admin("POST", `/v1/agents/${made.client_id}/activate`, { registration_token: made.registration_token });
        return made;
    }

    async stop() {
        if (this.child.exitCode === null && this.child.signalCode === null) {
            const ended = new Promise((resolve) => this.child.once("exit", resolve));
            this.child.kill("SIGTERM");
            await Promise.race([ended, later(5000).then(() => this.child.kill("SIGKILL"))]);
        }
        await rm(this.directory, { recursive: true, force: true });
    }
}
