// Asks the browser for a passkey, puts its answer into the form around the question, and sends that. Pages with such a
// question say what to ask in data attributes; without this script they stay as they are.
(() => {
  "use strict";

  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-")
      .replace(/\//g, "_")
      .replace(/=+$/, "");
  const words = (list) => (list || "").split(" ").filter((word) => word !== "");

  const create = async (asked) => {
    const made = await navigator.credentials.create({
      publicKey: {
        challenge: bytes(asked.challenge),
        rp: { id: asked.rp, name: "Placet" },
        user: { id: bytes(asked.user), name: asked.name, displayName: asked.name },
        pubKeyCredParams: words(asked.algorithms).map((alg) => ({ type: "public-key", alg: Number(alg) })),
        excludeCredentials: words(asked.known).map((id) => ({ type: "public-key", id: bytes(id) })),
        authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
        attestation: "none",
        timeout: 300000,
      },
    });
    return { client_data: made.response.clientDataJSON, attestation: made.response.attestationObject };
  };

  const get = async (asked) => {
    const made = await navigator.credentials.get({
      publicKey: {
        challenge: bytes(asked.challenge),
        rpId: asked.rp,
        userVerification: "required",
        timeout: 300000,
      },
    });
    return {
      credential: made.rawId,
      client_data: made.response.clientDataJSON,
      authenticator_data: made.response.authenticatorData,
      signature: made.response.signature,
      user_handle: made.response.userHandle || new ArrayBuffer(0),
    };
  };

  for (const question of document.querySelectorAll("[data-passkey]")) {
    const form = question.closest("form");
    if (!window.PublicKeyCredential || !form) continue;
    question.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const said = question.querySelector("[role=status]");
      try {
        const answer = await (question.dataset.passkey === "create" ? create : get)(question.dataset);
        for (const [name, value] of Object.entries(answer)) form.elements.namedItem(name).value = text(value);
        form.submit();
      } catch (error) {
        said.textContent =
          error.name === "InvalidStateError"
            ? "You have a passkey on this device already."
            : "It was not done. Try again, or sign in with your password.";
      }
    });
  }
})();
