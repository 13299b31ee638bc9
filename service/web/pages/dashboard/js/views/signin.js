import { html, nothing, changed, drawn, mark, refused } from "../screen.js";
import { t } from "../words.js";
import { facts } from "../store.js";
import { words } from "../errors.js";
import { signIn } from "../api.js";
import { enter, tools } from "../app.js";

// A shelf: what is there, and the part of it that is held.
const SHELF = Array.from({ length: 28 }, (_, i) => [(0.18 + 0.8 * Math.abs(Math.sin(i * 1.7 + 0.4) * Math.cos(i * 0.61))).toFixed(3), Math.max(0, Math.sin(i * 2.3) * 0.8).toFixed(3)]);

let trouble = null, busy = false, open = false, asksCode = false;

/** Why somebody is here who was signed in before. */
export function told(code) { trouble = code && code !== "signed_out" ? { code, facts: {} } : null; asksCode = false; }

async function submit(e) {
  e.preventDefault();
  if (busy) return;
  const { store, login, password, otp } = e.target.elements;
  busy = true; trouble = null; changed();
  try {
    await signIn(store.value.trim(), login.value.trim(), password.value, otp?.value.replace(/\D/g, ""));
    await enter();
    asksCode = open = false;
  } catch (error) {
    const isFirst = error.code === "otp_required" && !asksCode;
    asksCode ||= error.code === "otp_required";
    trouble = isFirst ? null : error;
    drawn(() => (asksCode ? document.getElementById("otp") : password)?.select());
  }
  busy = false; changed();
}

function said() {
  if (!trouble) return nothing;
  const { title, text } = words({ detail: "", message: "", facts: {}, ...trouble, code: trouble.code ?? "unreachable" });
  return refused(title, text);
}

export const signin = () => html`
  <div class="door">
    <div class="promise">
      <div class="lockup">${mark()}<b>Holdfast</b></div>
      <div class="shelf" aria-hidden="true">${SHELF.map(([whole, held]) => html`<span .style=${`--whole:${whole};--held-part:${held}`}><i></i></span>`)}</div>
      <p class="large">${t("in.promise")}</p>
      <p class="soft">${t("in.promise2")}</p>
    </div>
    <main class="desk" id="main">
      <form @submit=${submit} novalidate>
        <h1>${t("in.title")}</h1>
        ${said()}
        <label class="field"><span>${t("in.store")}</span><input name="store" .defaultValue=${facts.store} autocomplete="organization" autocapitalize="none" spellcheck="false" required></label>
        <label class="field"><span>${t("in.login")}</span><input name="login" autocomplete="username" autocapitalize="none" spellcheck="false" required></label>
        <div class="field"><span><label for="password">${t("in.password")}</label></span>
          <span class="pass"><input id="password" name="password" type=${open ? "text" : "password"} autocomplete="current-password" aria-invalid=${trouble ? "true" : "false"} aria-describedby=${facts.environment === "development" ? "printed" : nothing}><button type="button" class="do plain small" @click=${() => { open = !open; changed(); }}>${t(open ? "in.hide" : "in.show")}</button></span>
          ${facts.environment === "development" ? html`<span class="meta" id="printed">${t("in.printed")}</span>` : nothing}</div>
        ${asksCode ? html`<label class="field"><span>${t("in.otp")}</span><input id="otp" name="otp" inputmode="numeric" autocomplete="one-time-code" maxlength="7"></label>` : nothing}
        <button class="do main" aria-busy=${busy ? "true" : "false"}>${t("in.do")}</button>
      </form>
      <div class="below">${tools()}</div>
    </main>
  </div>`;
