// What a reload must not lose: machine, messages and what is shown, in the tab's own storage, which a
// browser forgets with the tab, but for copies of the tab and tabs that it opens again after a crash.
// Bounded: the oldest goes first. A key is never in it.

const NAME = "llmkit";
const VERSION = 1;
const MOST = 200; // entries of the log
const LENGTH = 1500000; // characters in all

export function save(data) {
  try {
    sessionStorage.setItem(NAME, fitted({ version: VERSION, ...data }));
  } catch { // full, or not allowed: then a reload begins anew
    forget();
  }
}

// What was saved, or null. It is the caller's to find out whether it can be used.
export function load() {
  try {
    const found = JSON.parse(sessionStorage.getItem(NAME));
    const whole = found?.version === VERSION && found.machine && Array.isArray(found.machine.earlier)
      && Array.isArray(found.messages) && Array.isArray(found.entries);
    return whole ? found : null;
  } catch {
    return null;
  }
}

export function forget() {
  try { sessionStorage.removeItem(NAME); } catch { /* not allowed: nothing is there */ }
}

// As JSON that is not too long: without the oldest steps that can be taken back, the oldest of what is
// shown, the oldest messages.
function fitted(data) {
  let { machine, messages, entries } = data;
  entries = entries.slice(-MOST);
  for (;;) {
    const text = JSON.stringify({ ...data, machine, messages, entries });
    if (text.length <= LENGTH) return text;
    if (machine.earlier.length) {
      machine = { ...machine, earlier: machine.earlier.slice(Math.ceil(machine.earlier.length / 2)) };
    } else if (entries.length > 1) {
      entries = entries.slice(Math.ceil(entries.length / 2));
    } else if (messages.length > 2) {
      const gone = Math.ceil(messages.length / 4) * 2;
      messages = messages.slice(gone);
      entries = entries.map((entry) => ({ ...entry, before: entry.before - gone })); // of the one that is left
    } else {
      throw new Error("too long to be kept");
    }
  }
}
