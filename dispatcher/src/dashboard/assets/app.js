// The page: which view is shown, the keys, and the line that says whether it is live.

import { JobsView } from "./jobs.js";
import { JobView } from "./job.js";
import { closeDialogs } from "./actions.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
const where = document.getElementById("where");
let view = null;

// Says whether the page is live. `word` is one of live, ended, reconnecting, trouble.
export function linked(word, text) {
  link.dataset.word = word;
  if (link.textContent !== text) link.textContent = text;
}

// What the address says: #/jobs, or #/jobs/ID?q=TEXT&state=STATE.
function place() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const id = path.match(/^\/jobs\/([^/]+)$/)?.[1];
  const asked = new URLSearchParams(query ?? "");
  return { id: id && decodeURIComponent(id), filter: { text: asked.get("q") ?? "", state: asked.get("state") ?? "" } };
}

function show() {
  const { id, filter } = place();
  if (id && view instanceof JobView && view.id === id) {
    view.filterFromAddress(filter);
    return;
  }
  view?.close();
  // What is asked is asked about what is shown.
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  main.replaceChildren();
  where.textContent = id ? id : "";
  document.title = id ? `${id} · goldfleet` : "goldfleet";
  view = id ? new JobView(main, id, filter, { linked }) : new JobsView(main, { linked });
  window.scrollTo(0, 0);
}

function typing(target) {
  return target.closest("input, select, textarea, dialog[open]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    view?.escape?.();
    return;
  }
  if (typing(event.target)) return;
  const deeds = {
    "?": () => document.getElementById("help").showModal(),
    "/": () => view?.focusFilter?.(),
    m: () => view?.focusMatrix?.(),
    f: () => view?.nextFailure?.(),
    j: () => { location.hash = "#/jobs"; },
  };
  if (deeds[event.key]) {
    event.preventDefault();
    deeds[event.key]();
  }
});

// "Skip to content" must not be taken for a place.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById("help-open").addEventListener("click", () => document.getElementById("help").showModal());
closeDialogs();
window.addEventListener("hashchange", show);
show();
