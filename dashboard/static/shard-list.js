// The list of shards: rows are put in place as the server tells, only those that changed; what the
// list shows is in the page's URL, and the server alone knows what that means.
"use strict";

(function () {
  const TYPING_MS = 120;
  const table = document.getElementById("shards");
  const form = document.getElementById("find-shards");
  const field = document.getElementById("q");
  const rows = new Map(); // name -> its tbody, in the table or about to be
  let asked = window.location.search;
  let entry = "replace"; // what becomes of the browser's history
  let wanted = null; // the shard to go to
  let typing = 0;

  for (const row of table.tBodies) rows.set(nameOf(row), row);

  function nameOf(row) {
    return row.id.slice("shard-".length);
  }

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = "<table>" + html + "</table>";
    return [...template.content.firstChild.tBodies];
  }

  function put(row) {
    const name = nameOf(row);
    const before = rows.get(name);
    if (before && before.isEqualNode(row)) return;
    if (before && before.classList.contains("details") && row.classList.contains("details")) {
      Idiomorph.morph(before, row, { morphStyle: "outerHTML" });
      return;
    }
    if (before && before.isConnected) before.replaceWith(row);
    rows.set(name, row);
  }

  function setFigures(name, texts) {
    const row = rows.get(name);
    if (!row) return;
    row.querySelectorAll("[data-f]").forEach((cell, index) => {
      if (cell.textContent !== texts[index]) cell.textContent = texts[index];
    });
  }

  // A row that is moved or replaced loses the focus that was in it.
  function keepingFocus(act) {
    const focused = document.activeElement && document.activeElement.id;
    act();
    const still = focused && document.getElementById(focused);
    if (still && document.activeElement !== still && table.contains(still)) {
      still.focus({ preventScroll: true });
    }
  }

  // Moves as few rows as it can: whoever stands before its turn goes to the end.
  function place(order) {
    const listed = new Set(order);
    for (const [name, row] of rows) {
      if (listed.has(name)) continue;
      row.remove();
      rows.delete(name);
    }
    let next = table.tBodies[0] || null;
    for (const name of order) {
      const row = rows.get(name);
      if (!row) continue;
      if (next && row !== next && row === next.nextElementSibling) {
        table.append(next);
        next = row;
      }
      if (row === next) next = row.nextElementSibling;
      else table.insertBefore(row, next);
    }
  }

  // Takes what the server tells of the rows; `url` is there when that answers what was asked.
  Live.list = function (news, url) {
    if (news.html) keepingFocus(() => parsed(news.html).forEach(put));
    for (const [name, texts] of Object.entries(news.figures || {})) setFigures(name, texts);
    if (news.order && url !== undefined) {
      Live.settled("order");
      keepingFocus(() => place(news.order));
    } else if (news.order) {
      Live.whenUnused("order", () => keepingFocus(() => place(news.order)));
    }
    if (url !== undefined) answered(url);
  };

  function answered(url) {
    const target = url === "?" ? window.location.pathname : url;
    const now = window.location.search || "?";
    if (now !== url) window.history[entry + "State"](null, "", target);
    entry = "replace";
    asked = window.location.search;
    for (const old of form.querySelectorAll("input[type=hidden]")) old.remove();
    for (const [name, value] of new URLSearchParams(asked)) {
      if (name === "q") continue;
      const hidden = document.createElement("input");
      Object.assign(hidden, { type: "hidden", name, value });
      form.prepend(hidden);
    }
    if (document.activeElement !== field) field.value = new URLSearchParams(asked).get("q") || "";
    const row = wanted && rows.get(wanted);
    wanted = null;
    if (row && row.isConnected) {
      row.scrollIntoView({ block: "center" });
      row.querySelector(".toggle").focus({ preventScroll: true });
    }
  }

  Live.query = () => asked;

  function ask(search, how) {
    asked = search;
    entry = how;
    Live.reopen();
  }

  function withField(name, value) {
    const query = new URLSearchParams(asked);
    query.set(name, value);
    return "?" + query;
  }

  // Shows a shard with its details, whatever was filtered, and goes there.
  Live.show = function (name) {
    wanted = name;
    ask(withField("show", name), "push");
  };

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const pressed = event.target.closest("a[data-view], a[data-show], button.toggle");
    if (!pressed) return;
    event.preventDefault();
    if (pressed.dataset.show) Live.show(pressed.dataset.show);
    else if (pressed.name === "toggle") ask(withField("toggle", pressed.value), "replace");
    else ask(pressed.search || "?", "push");
  });

  form.addEventListener("submit", (event) => event.preventDefault());
  field.addEventListener("input", () => {
    window.clearTimeout(typing);
    typing = window.setTimeout(() => ask(withField("q", field.value), "replace"), TYPING_MS);
  });
  window.addEventListener("popstate", () => {
    field.value = new URLSearchParams(window.location.search).get("q") || "";
    ask(window.location.search, "replace");
  });
})();
