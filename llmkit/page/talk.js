// The conversation: asks, shows what comes, and lets nothing happen that nobody agreed to.

import { card } from "./card.js";
import { byId, el, say } from "./dom.js";
import { save } from "./keep.js";

const NOTHING_RAN = "All right, I have not run that.";
const HINT = "Say in your own words what you want done on it. A command that is proposed is shown with what " +
  "it would do, and happens only when you apply it, on a machine that is made up.";
const CUT = "The answer became too long and was cut off, so nothing of it can be run. Please ask for less at once.";

const thought = ({ thinking }) => (thinking ? String(thinking) : "");

export class Talk {
  #server; #machine; #options;
  #messages = []; // as the model is sent them
  #entries = []; // what is shown, as data; of a card that was decided on, `end` tells how
  #open = null; // the card that waits for a decision, and its entry
  #busy = null; // an AbortController while something runs
  #log = byId("log");
  #field = byId("message");

  constructor(server, machine, options) {
    this.#server = server;
    this.#machine = machine;
    this.#options = options;
    byId("composer").addEventListener("submit", (event) => { event.preventDefault(); this.#submit(); });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    byId("stop").addEventListener("click", () => this.#busy?.abort(new Error("stopped")));
    byId("again").addEventListener("click", () => this.begin("The conversation begins anew; the machine stays as it is."));
    let end = true; // the newest is in sight, and stays so when there is less room
    this.#log.addEventListener("scroll", () => {
      end = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 40;
    });
    new ResizeObserver(() => { if (end) this.#follow(); }).observe(this.#log);
    machine.addEventListener("taken", (event) => this.begin(`The machine: ${event.detail}.`));
    machine.addEventListener("back", (event) => this.#takenBack(event.detail));
  }

  begin(note) {
    this.#busy?.abort(new Error("stopped"));
    this.#now(null);
    this.#messages = [];
    this.#entries = [];
    this.#open = null;
    this.#log.replaceChildren();
    for (const text of [note, HINT]) this.#record({ kind: "note", text });
    say(note);
  }

  // What keep.js kept. False when it cannot be used.
  async restore({ machine, messages, entries }) {
    try {
      await this.#machine.restore(machine);
      this.#messages = messages.map(({ role, content }) => ({ role: String(role), content: String(content) }));
      this.#entries = entries;
      for (const entry of entries) this.#draw(entry);
    } catch (error) {
      if (error.status && error.status !== 400) throw error;
      this.#log.replaceChildren();
      return false;
    }
    const last = entries.at(-1);
    if (last?.kind === "you") this.#failed("The page was loaded anew before the answer came.", last.text);
    this.#follow();
    return true;
  }

  // Something is shown, and is there again after a reload.
  #record(entry, place = null) {
    this.#entries.push(entry);
    this.#draw(entry, place);
    this.#save();
  }

  #save() {
    save({ machine: this.#machine.kept(), messages: this.#messages, entries: this.#entries });
  }

  #draw(entry, place = null) {
    place?.classList.remove("waiting");
    if (entry.kind === "note") {
      this.#log.append(el("li", { class: "note" }, entry.text));
    } else if (entry.kind === "you") {
      this.#add("you", "You", el("p", { class: "text" }, entry.text));
    } else if (entry.kind === "model") {
      const node = place ?? this.#add("model", "Assistant");
      this.#reason(node, entry);
      node.append(el("p", { class: "text" }, entry.text));
      if (entry.held) {
        node.append(el("details", { class: "thinking" }, el("summary", {}, "The command that was held back"),
          el("pre", { class: "command" }, el("code", {}, entry.held))));
      }
    } else {
      const node = place ?? this.#add(entry.own ? "own" : "model", entry.own ? "Your command" : "Assistant");
      this.#reason(node, entry);
      this.#card(node, entry);
      if (entry.instead) {
        node.append(el("details", { class: "thinking" }, el("summary", {}, "The model's own line, which was corrected"),
          el("pre", { class: "command" }, el("code", {}, entry.instead))));
      }
    }
    this.#follow();
  }

  #reason(node, { thinking }) {
    if (!thinking) return;
    node.append(el("details", { class: "thinking" }, el("summary", {}, "Reasoning"),
      el("p", { class: "text" }, String(thinking))));
  }

  #submit() {
    const text = this.#field.value.trim();
    if (!text || this.#busy || !this.#machine.state) return;
    this.#field.value = "";
    this.#decline();
    this.#record({ kind: "you", text });
    const own = text.startsWith("$") ? text.slice(1).trim() : "";
    this.#during((signal) => (own ? this.#propose(own, signal) : this.#ask(text, signal)), text);
  }

  #now(busy) {
    this.#busy = busy;
    this.#machine.busy = busy !== null;
    byId("send").disabled = busy !== null;
    byId("stop").hidden = busy === null;
  }

  // Run one thing at a time; what goes wrong is said, and what was typed can be sent again.
  async #during(act, text) {
    const busy = new AbortController();
    this.#now(busy);
    try {
      await act(busy.signal);
    } catch (error) {
      if (this.#busy === busy) this.#failed(busy.signal.aborted ? "Stopped." : error.message, text);
    } finally {
      if (this.#busy === busy) this.#now(null);
    }
  }

  #failed(message, text) {
    for (const left of this.#log.querySelectorAll(".waiting")) left.remove();
    const again = el("button", { type: "button", on: { click: () => {
      if (this.#busy) return;
      entry.remove();
      this.#field.value = text;
      this.#submit();
    } } }, "Send again");
    const entry = this.#add("problem", "Problem", el("p", { class: "text" }, message), el("div", { class: "row" }, again));
    say(message);
  }

  async #ask(text, signal) {
    const shown = el("p", { class: "text" });
    const entry = this.#add("model waiting", "Assistant", shown, el("span", { class: "dots", "aria-hidden": "true" }, "…"));
    const turns = this.#messages.slice(-this.#options.history);
    while (turns.length && turns[0].role !== "user") turns.shift();
    const said = { role: "user", content: text };
    let history = turns;
    const asked = (how, onText, brief = false) => this.#server.ask("generate", {
      messages: [...history, said],
      system_context: this.#machine.context,
      max_tokens: this.#options.max_tokens,
      ...how,
    }, { signal, onText, brief });
    const first = () => asked({ temperature: this.#options.temperature },
      (so) => { shown.textContent = so; this.#follow(); });
    let answer;
    try {
      answer = await first();
    } catch (error) {
      if (error.status !== 400 || turns.length < 2) throw error;
      history = turns.slice(Math.floor(turns.length / 4) * 2 + 2); // too long, perhaps
      answer = await first();
    }
    const talk = [...turns, said];
    let found = await this.#judged(answer, talk, signal);
    const nearly = answer.type === "text" ? await this.#secondLook(talk, asked, signal, found.blocked) : null;
    if (nearly) found = nearly;
    else if (found.again) found = await this.#anew(found, talk, asked, signal);
    if (this.#busy?.signal !== signal) return; // another conversation has begun meanwhile
    entry.replaceChildren(entry.querySelector(".who"));
    if (found.check) this.#offer(found, text, entry);
    else this.#answer(text, found, entry, found.kept);
  }

  // A proposal in place of words, as in llmkit.chat: the model nearly made one, the message names what it works
  // on or the words are not so (then it must ask nothing, and the command do more than look), and nothing is against
  // it, the question for consent included. Words that are there already stay when this fails or is stopped.
  async #secondLook(talk, asked, signal, isFalse) {
    const { tool_threshold } = this.#options;
    if (tool_threshold >= 1) return null;
    try {
      const answer = await asked({ temperature: 0, tool_choice: "required", tool_threshold }, () => {}, true);
      const called = answer.type === "text" ? null : answer.arguments?.command;
      if (typeof called !== "string" || !called.trim()) return null;
      const command = called.trim();
      const check = await this.#server.ask("domain/check", { ...this.#asking(command, talk), confirm: true },
        { signal, brief: true });
      const due = check.about || isFalse && check.wished;
      return check.allowed && due ? { thinking: thought(answer), command, talk, check } : null;
    } catch {
      return null;
    }
  }

  // What to say in place of words that are not so; null: nothing is known to be wrong, or nobody can say.
  async #untrue(text, talk, signal) {
    try {
      const asked = { state: this.#machine.state, messages: talk, text };
      return (await this.#server.ask("domain/text", asked, { signal, brief: true })).instead;
    } catch {
      return null;
    }
  }

  // What the other tries come to, as in llmkit.chat: a proposal, or the first where they come to none. A
  // try that answers in words says that no command is due; its words were drawn, those of the objection
  // are known to be true.
  async #anew(first, talk, asked, signal) {
    for (let seed = 1; seed < this.#options.tries; seed += 1) {
      let next;
      try {
        next = await this.#judged(await asked({ ...this.#options.retry, seed }, () => {}), talk, signal);
      } catch {
        signal.throwIfAborted();
        return first;
      }
      if (!next.again) return next.check || !first.blocked ? next : first;
    }
    return first;
  }

  // What a person gets of an answer: words, or a command with what is known of it. `again`: it is in place
  // of something that could never work. A command is held against the conversation: the person may have
  // named another disk. That something is lost the card itself asks about.
  async #judged(answer, talk, signal) {
    const thinking = thought(answer);
    if (answer.type === "text") {
      const told = String(answer.response ?? "").trim();
      const cut = answer.finish_reason === "length" && (!told || told.startsWith("$"));
      const text = cut ? CUT : told;
      const instead = text && !cut ? await this.#untrue(text, talk, signal) : null;
      if (instead) return { thinking, text: instead, kept: instead, again: true, blocked: true };
      return { thinking, text: text || "(an empty answer)", kept: text || "…", again: cut };
    }
    const called = answer.arguments?.command;
    if (typeof called !== "string" || !called.trim()) {
      const text = `The model called ${answer.tool_name}, which this page cannot do.`;
      return { thinking, text, again: true, blocked: true };
    }
    const command = called.trim();
    const check = await this.#server.ask("domain/check", this.#asking(command, talk), { signal });
    const blocked = !check.allowed;
    if (blocked && check.better && check.better !== command && !answer.instead) {
      const answered = { ...answer, arguments: { command: check.better }, instead: command };
      return this.#judged(answered, talk, signal);
    }
    const { instead } = answer;
    if (blocked && check.refused_by !== "guard") {
      return { thinking, text: check.reason, held: command, again: check.again, blocked };
    }
    return { thinking, command, instead, talk, check, again: blocked && check.again, blocked };
  }

  // An answer in words. `kept`: how the model is sent it later.
  #answer(asked, { thinking, text, held }, place, kept = text) {
    this.#keep(asked, kept);
    this.#record({ kind: "model", thinking, text, held }, place);
    say(`Answer: ${text}`);
  }

  #keep(asked, answered) {
    this.#messages.push({ role: "user", content: asked }, { role: "assistant", content: answered });
  }

  // A command of one's own is judged by the guard alone.
  async #propose(command, signal) {
    const node = this.#add("own waiting", "Your command");
    const check = await this.#server.ask("domain/check", this.#asking(command), { signal });
    this.#offer({ command, own: true, check }, command, node);
  }

  #offer({ command, instead, own, thinking, talk, check }, text, node) {
    const before = this.#messages.length;
    const refused = !check.allowed || check.danger === "forbidden";
    this.#keep(text, refused ? check.reason : NOTHING_RAN);
    this.#record({ kind: "card", command, instead, own, thinking, talk, check, before, end: null }, node);
    say(`${refused ? "Refused" : "Proposed"}: ${command}. ${check.reason}`);
  }

  #asking(command, talk) {
    const asked = { state: this.#machine.state, command };
    return talk ? { ...asked, messages: talk, confirm: false } : asked;
  }

  #card(place, entry) {
    const { command, check, end } = entry;
    const shown = card(command, check, {
      apply: () => this.#apply(entry, shown),
      edit: () => { this.#field.value = `$ ${command}`; this.#field.focus(); },
      cancel: () => { this.#decline(); this.#field.focus(); },
    });
    place.append(shown.node);
    if (shown.refused) return;
    if (end) this.#closed(shown, end);
    else if (entry === this.#entries.at(-1) && entry.before >= 0) this.#open = { shown, entry };
    else shown.close("Not applied.");
  }

  #decline() {
    if (this.#open) this.#end({ word: "Not applied." });
  }

  #apply(entry, shown) {
    if (this.#open?.shown !== shown || this.#busy) { shown.reset(); return; }
    const { command, talk, before } = entry;
    this.#during(async (signal) => {
      let found;
      try {
        found = await this.#server.ask("domain/apply", this.#asking(command, talk), { signal });
        if (!found.applied) {
          this.#settle(before, found.reason, { word: `Refused: ${found.reason}`, failed: true });
          return;
        }
        const changed = await this.#machine.become(found.state, command, before);
        const failed = Boolean(found.status);
        const content = failed ? `$ ${command}\n\n${found.error ?? ""}` : `$ ${command}`;
        const word = failed ? `It failed: ${found.error ?? `status ${found.status}`}` : "Applied.";
        this.#settle(before, content, { word, failed, changed, ran: true, unmodelled: found.unmodelled,
          output: found.stdout?.slice(0, 20000) });
      } catch (error) {
        shown.reset();
        throw error;
      }
    }, `$ ${command}`);
  }

  #settle(before, content, end) {
    this.#messages[before + 1] = { role: "assistant", content };
    this.#end(end);
    say([end.word, ...end.changed ?? []].join(" "));
    this.#follow();
    this.#field.focus({ preventScroll: true });
  }

  // What became of the open card.
  #end(end) {
    const { shown, entry } = this.#open;
    this.#open = null;
    entry.end = end;
    delete entry.talk;
    this.#closed(shown, end);
    this.#save();
  }

  #closed(shown, { word, failed = false, ran = false, changed = [], output = "", unmodelled = [] }) {
    shown.close(word, failed);
    if (output) shown.node.append(el("pre", { class: "output", tabindex: "0", "aria-label": "Output" }, output));
    if (changed.length) {
      shown.node.append(el("ul", { class: "changes", "aria-label": "Changed on the machine" },
        ...changed.map((line) => el("li", {}, line))));
    } else if (ran && !failed) {
      shown.node.append(el("p", { class: "end" }, "The picture stays as it was."));
    }
    if (unmodelled.length) {
      shown.node.append(el("p", { class: "end" }, `Taken to change nothing: ${unmodelled.join(", ")}`));
    }
  }

  #takenBack({ command, before, changed }) {
    this.#decline();
    this.#messages.length = Math.min(this.#messages.length, before);
    const note = `Taken back: ${command}`;
    this.#record({ kind: "note", text: note });
    say([note, ...changed].join(" "));
  }

  #add(kind, who, ...children) {
    const entry = el("li", { class: kind }, el("span", { class: "who" }, who), ...children);
    this.#log.append(entry);
    this.#follow();
    return entry;
  }

  #follow() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}
