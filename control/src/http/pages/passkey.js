// Runs the WebAuthn ceremony of a form when it is sent, puts what the authenticator says into its
// field `proof`, and sends it on. The form says which ceremony, and with which options. Where a sign-in
// link was opened, it fills the code in.
const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

const text = (buffer) =>
  btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(""))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

const named = (keys) => (keys ?? []).map((key) => ({ ...key, id: bytes(key.id) }));

const ceremonies = {
  async create(options) {
    const user = { ...options.user, id: bytes(options.user.id) };
    const excludeCredentials = named(options.excludeCredentials);
    const publicKey = { ...options, challenge: bytes(options.challenge), user, excludeCredentials };
    const made = await navigator.credentials.create({ publicKey });
    return answer(made, {
      attestationObject: text(made.response.attestationObject),
      transports: made.response.getTransports?.() ?? [],
    });
  },
  async get(options) {
    const allowCredentials = named(options.allowCredentials);
    const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials };
    const used = await navigator.credentials.get({ publicKey });
    return answer(used, {
      authenticatorData: text(used.response.authenticatorData),
      signature: text(used.response.signature),
      userHandle: used.response.userHandle ? text(used.response.userHandle) : null,
    });
  },
};

const answer = (credential, response) => ({
  id: credential.id,
  rawId: text(credential.rawId),
  type: credential.type,
  extensions: {},
  response: { clientDataJSON: text(credential.response.clientDataJSON), ...response },
});

const told = {
  NotAllowedError: "The passkey was not used: that was cancelled, took too long, or none of yours is here.",
  InvalidStateError: "This device holds a passkey of yours already.",
  SecurityError: "Passkeys of this gateway don't work under the address that this page has.",
  NotSupportedError: "This device can't make a passkey that is good enough here.",
};

// The code of a sign-in link stands behind its `#`, which browsers send to nobody.
const code = document.querySelector("form[action='/login'] input[name=code]");
if (code && location.hash.length > 1) {
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
}

for (const form of document.querySelectorAll("form[data-webauthn]")) {
  const button = form.querySelector("button");
  const alert = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    alert.hidden = true;
    button.disabled = true;
    try {
      if (!navigator.credentials) throw new DOMException("", "SecurityError");
      const proof = await ceremonies[form.dataset.webauthn](JSON.parse(form.dataset.options));
      form.elements.proof.value = JSON.stringify(proof);
      form.submit();
    } catch (error) {
      alert.textContent = told[error.name] ?? `The passkey could not be used: ${error.message}`;
      alert.hidden = false;
      button.disabled = false;
      button.focus();
    }
  });
}
