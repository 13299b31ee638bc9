// A refusal in words: what the language file says of its code, else what the service says.
import { t, has } from "./words.js";

const FILL = ["quantity", "available", "product_id", "reservation_id", "retry_after", "order_id", "table_id"];

/** {title, text} of a Refused. */
export function words(refused) {
  const { code, facts, detail, message } = refused;
  const fill = { ...facts, n: facts.retry_after ?? facts.available ?? 0 };
  for (const name of FILL) fill[name] ??= "?";
  const rule = facts.rule && has(`rule.house.${facts.rule}`) ? t(`rule.house.${facts.rule}`) : null;
  const wrong = facts.errors?.map((each) => each.message).join(". ");
  const title = has(`error.${code}`) ? t(`error.${code}`, fill) : message || t("error.other");
  const text = rule ?? (has(`error.${code}.why`) ? t(`error.${code}.why`, fill) : wrong || detail || t("error.nothing"));
  return { title, text };
}

/** The same in one line. */
export const line = (refused) => { const { title, text } = words(refused); return `${title}. ${text}`; };
