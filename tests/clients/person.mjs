// A person at a browser: keeps cookies, fills in the forms of the pages with what is hidden in them, and goes no further
// than to where a client is answered.

const TEXT = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&" };

export class Person {
    #cookies = new Map();

    constructor(pages, name, password) {
        Object.assign(this, { pages, name, password });
    }

    /** Opens an authorization request, signs in where that is asked, and answers; tells where the browser is sent. */
    async answers(url, verdict = "approve") {
        let at = new URL(url);
        if (at.origin !== this.pages) throw new Error(`the authorization endpoint is not among the pages: ${at}`);
        for (let steps = 0; steps < 6; steps += 1) {
            const response = await this.#get(at);
            if (response.status === 303) {
                const next = new URL(response.headers.get("location"), at);
                if (next.origin !== this.pages) return next.href;
                at = next;
                continue;
            }
            const page = await response.text();
            if (response.status !== 200) throw new Error(`a page with status ${response.status}: ${words(page)}`);
            const sent = page.includes('action="/consent"')
                ? await this.#post("/consent", page, { lasts: "1h", verdict })
                : await this.#post("/sign-in", page, { name: this.name, password: this.password });
            if (sent.status !== 303) throw new Error(`a form with status ${sent.status}: ${words(await sent.text())}`);
            const next = new URL(sent.headers.get("location"), at);
            if (next.origin !== this.pages) return next.href;
            at = next;
        }
        throw new Error("the pages lead round and round");
    }

    async #get(url) {
        return this.#kept(await fetch(url, { redirect: "manual", headers: this.#headers() }));
    }

    async #post(action, page, members) {
        const form = page.split(`<form method="post" action="${action}">`)[1]?.split("</form>")[0];
        if (form === undefined) throw new Error(`there is no form for ${action}: ${words(page)}`);
        const body = new URLSearchParams(members);
        for (const [, name, value] of form.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)) {
            body.set(name, value.replace(/&(lt|gt|quot|#39|amp);/g, (entity) => TEXT[entity]));
        }
        const headers = { ...this.#headers(), origin: this.pages, "sec-fetch-site": "same-origin" };
        return this.#kept(await fetch(this.pages + action, { method: "POST", redirect: "manual", headers, body }));
    }

    #headers() {
        return this.#cookies.size === 0 ? {} : { cookie: [...this.#cookies].map((pair) => pair.join("=")).join("; ") };
    }

    #kept(response) {
        for (const cookie of response.headers.getSetCookie()) {
            const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
            if (/max-age=0/i.test(cookie)) this.#cookies.delete(name);
            else this.#cookies.set(name, value);
        }
        return response;
    }
}

function words(page) {
    return page.replace(/<[^>]*>/g, " ").replace(/\s+/g, " ").slice(0, 600);
}
