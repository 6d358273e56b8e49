// Renews the inspector's page: fetches what it shows every two seconds, and writes it into the marks
// that the templates left (data-text, data-attributes, data-list). All values are written as text.

const SECONDS = 2;
// A screen reader hears of what happened no more often than this.
const QUIET_SECONDS = 10;

const value = (data, path) => path.split(".").reduce((inner, name) => inner?.[name], data);

/** The marks of a part, without those of the lists in it, whose items have data of their own. */
function marks(root, selector) {
  const scope = root.parentElement?.closest("[data-list]") ?? null;
  const found = [...root.querySelectorAll(selector)].filter(
    (node) => (node.parentElement.closest("[data-list]") ?? null) === scope,
  );
  return root.matches(selector) ? [root, ...found] : found;
}

function write(root, data) {
  for (const node of marks(root, "[data-text]")) {
    const text = value(data, node.dataset.text);
    if (text !== undefined && node.textContent !== text) node.textContent = text;
  }
  for (const node of marks(root, "[data-attributes]")) {
    for (const pair of node.dataset.attributes.split(" ")) {
      const [name, path] = pair.split("=");
      const text = value(data, path);
      if (text !== undefined && node.getAttribute(name) !== text) node.setAttribute(name, text);
    }
  }
  for (const list of marks(root, "[data-list]")) {
    const items = value(data, list.dataset.list);
    if (items !== undefined) writeList(list, items);
  }
}

/** Change, add, move and remove the parts of a list; what has the focus keeps it. */
function writeList(list, items) {
  const template = list.querySelector(":scope > template");
  const parts = new Map();
  for (const node of [...list.children]) if (node !== template) parts.set(node.dataset.id, node);
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  let place = list.firstElementChild;
  for (const item of items) {
    let part = parts.get(item.id);
    parts.delete(item.id);
    if (!part) {
      if (!template) continue;
      part = template.content.firstElementChild.cloneNode(true);
    }
    if (part === place) place = place.nextElementSibling;
    else list.insertBefore(part, place);
    write(part, item);
  }
  for (const [, node] of parts) {
    // Who stands on it is not thrown to the top of the page.
    if (focused && node.contains(focused)) list.closest("[tabindex]")?.focus();
    node.remove();
  }
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

const text = (selector, words) => {
  const node = document.querySelector(selector);
  if (node && node.textContent !== words) node.textContent = words;
};

class Poll {
  constructor(main) {
    this.main = main;
    this.url = main.dataset.poll;
    this.paused = false;
    this.timer = null;
    this.running = null;
    this.heard = new Set(this.invalidations());
    this.quietUntil = 0;
  }

  invalidations() {
    return [...this.main.querySelectorAll('[data-kind="invalidation"]')].map((node) => node.dataset.id);
  }

  /** Ask now, and from then on every two seconds. */
  async renew() {
    clearTimeout(this.timer);
    this.running?.abort();
    if (document.hidden) return;
    const running = (this.running = new AbortController());
    let state = "";
    try {
      const answer = await fetch(this.url + location.search, { signal: running.signal });
      if (!answer.ok) throw new Error(answer.statusText);
      write(this.main, await answer.json());
      this.announce();
    } catch {
      if (running.signal.aborted) return;
      state = "The server does not answer; it is asked again.";
    }
    text("[data-state]", this.paused ? "Paused." : state);
    if (!this.paused) this.timer = setTimeout(() => this.renew(), SECONDS * 1000);
  }

  announce() {
    const fresh = this.invalidations().filter((id) => !this.heard.has(id));
    if (!fresh.length || Date.now() < this.quietUntil) return;
    this.quietUntil = Date.now() + QUIET_SECONDS * 1000;
    this.heard = new Set(this.invalidations());
    text("[data-announce]", fresh.length === 1 ? "One new invalidation." : `${fresh.length} new invalidations.`);
  }

  pause(button) {
    this.paused = !this.paused;
    button.setAttribute("aria-pressed", this.paused);
    if (!this.paused) return this.renew();
    clearTimeout(this.timer);
    text("[data-state]", "Paused.");
  }
}

function follow(poll) {
  const pause = document.querySelector("[data-pause]");
  pause.hidden = false;
  pause.addEventListener("click", () => poll.pause(pause));
  document.addEventListener("visibilitychange", () => poll.paused || poll.renew());
  const change = (name, wanted) => {
    const query = new URLSearchParams(location.search);
    if (wanted) query.set(name, wanted);
    else query.delete(name);
    history.replaceState(null, "", `?${query}`);
    poll.renew();
  };
  document.getElementById("sorting").addEventListener("submit", (event) => {
    event.preventDefault();
    change("sort", event.submitter.value);
  });
  const search = document.getElementById("search");
  let typing = null;
  const find = () => {
    clearTimeout(typing);
    change("q", search.elements.q.value.trim());
  };
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, 300);
  });
  poll.renew();
}

/** Ask for confirmation in the dialog, instead of on a page of its own. */
function confirmInDialog(dialog) {
  const form = dialog.querySelector("form");
  document.addEventListener("submit", (event) => {
    const asked = event.target;
    if (!asked.dataset.question) return;
    event.preventDefault();
    const wanted = asked.elements.value?.value ?? "";
    form.action = asked.action;
    form.elements.value.value = wanted;
    dialog.querySelector("h2").textContent = asked.dataset.title;
    dialog.querySelector("#confirm-question").textContent = asked.dataset.question;
    dialog.querySelector("[data-value]").textContent = wanted;
    dialog.querySelector("[data-yes]").textContent = asked.dataset.button;
    dialog.showModal();
    // Whoever presses Enter twice does no harm.
    dialog.querySelector("[data-no]").focus();
  });
  dialog.querySelector("[data-no]").addEventListener("click", () => dialog.close());
}

const polled = document.querySelector("[data-poll]");
if (polled) follow(new Poll(polled));
const dialog = document.getElementById("confirm");
if (dialog) confirmInDialog(dialog);
