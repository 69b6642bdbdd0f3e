// A proposed command: what it would do, what the guard says, and what the person decides.

import { el } from "./dom.js";

const DANGERS = {
  read: "only looks", change: "changes something", destructive: "destroys data",
  forbidden: "must not be run",
};

let count = 0;

// `check` is the answer of /domain/check. Gives {node, refused, close(word), focus()}.
export function card(command, check, { apply, edit, cancel }) {
  const refused = !check.allowed || check.danger === "forbidden";
  const verdict = refused ? "refused" : check.danger;
  const id = `card-${count += 1}`;
  const told = check.explanation.split("\n").filter((line) => line && !line.includes(check.reason));
  const end = el("p", { class: "end", hidden: true });
  const row = el("div", { class: "row" });
  const node = el("article", { class: `card v-${verdict in DANGERS ? verdict : "refused"}`, "aria-labelledby": id },
    el("p", { class: "verdict", id },
      el("span", { class: "badge" }, refused ? "Refused" : "Proposed"), " ",
      el("span", {}, !check.allowed ? "the guard does not let this through" : DANGERS[check.danger] ?? check.danger)),
    el("pre", { class: "command", tabindex: "0", "aria-label": "Command" }, el("code", {}, command)),
    refused ? null : el("ul", { class: "does" }, ...told.map((line) => el("li", {}, line))),
    el("p", { class: "reason" }, check.reason),
    row, end);
  const close = (word, failed = false) => {
    row.remove();
    end.hidden = false;
    end.textContent = word;
    node.classList.add(failed ? "failed" : "closed");
  };
  const button = (text, act, kind = "") => el("button", { type: "button", class: kind, on: { click: act } }, text);
  if (refused) {
    row.append(button("Edit", edit));
  } else {
    const ask = button("Apply to the simulated machine", () => {
      if (!check.needs_confirmation) return run();
      const where = check.destroys.length ? `What is on ${check.destroys.join(", ")} is lost` : "Something is lost";
      row.replaceChildren(el("p", { class: "sure", id: `${id}-sure` }, `${where}, on the simulated machine.`), yes, no);
      yes.focus();
      row.scrollIntoView({ block: "nearest" });
    }, "main");
    const yes = el("button", { type: "button", class: "danger", "aria-describedby": `${id}-sure`, on: { click: () => run() } }, "Destroy and apply");
    const no = button("No", cancel);
    const run = () => {
      for (const each of row.querySelectorAll("button")) each.disabled = true;
      return apply();
    };
    row.append(ask, button("Edit", edit), button("No", cancel));
  }
  return { node, refused, close, reset: () => { for (const each of row.querySelectorAll("button")) each.disabled = false; } };
}
