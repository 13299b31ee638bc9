import { html, none } from "../screen.js";
import { t } from "../words.js";

export const allowed = () => false;
export const head = () => html`<h1>${t("nav.orders")}</h1>`;
export const body = () => none(t("nav.orders"), "");
