// Keeps a pool's page live: one EventSource, fragments morphed in place, relative times.
"use strict";

(function () {
  const body = document.body;
  const link = document.getElementById("link");
  const words = document.getElementById("link-words");
  const RETRY_MS = 2000;
  let source = null;
  let lostSince = null;
  let leaving = false;

  function ago(seconds) {
    if (seconds < 2) return "now";
    if (seconds < 60) return seconds + " s ago";
    if (seconds < 3600) return Math.floor(seconds / 60) + " min ago";
    if (seconds < 86400) return Math.floor(seconds / 3600) + " h ago";
    return Math.floor(seconds / 86400) + " d ago";
  }

  function tick() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
      const text = ago(seconds);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  function clock(date) {
    return date.toISOString().slice(11, 19) + " UTC";
  }

  function show(state, text) {
    link.className = "link is-" + state;
    if (words.textContent !== text) words.textContent = text;
  }

  function lost() {
    lostSince = lostSince || new Date();
    show("lost", "reconnecting since " + clock(lostSince));
  }

  function apply(message) {
    for (const [name, html] of Object.entries(message.html)) {
      const element = document.getElementById("live-" + name);
      if (element) Idiomorph.morph(element, html, { morphStyle: "innerHTML" });
    }
    lostSince = null;
    if (message.link.state === "live") show("live", "live");
    else {
      const what = message.link.state === "quiet" ? "no news since " : "metaserver lost since ";
      show("lost", what + clock(new Date(message.link.since)));
    }
    const health = document.querySelector(".pools [aria-current] .badge");
    if (health) document.title = document.title.replace(/^\S+/, health.textContent.trim());
    tick();
  }

  function signedOut() {
    source.close();
    source = null;
    show("lost", "signed out");
    // Who signs out is on the way to a page that says so.
    if (!leaving) window.location.assign(body.dataset.login + "?reason=expired");
  }

  // An EventSource gives up for good when the reply is not a stream: signed out, or restarting.
  function reopen() {
    fetch(body.dataset.session, { cache: "no-store" }).then(
      (reply) => (reply.status === 401 ? signedOut() : open()),
      () => window.setTimeout(reopen, RETRY_MS)
    );
  }

  function open() {
    if (source) source.close();
    source = new EventSource(body.dataset.live);
    source.addEventListener("fragments", (event) => apply(JSON.parse(event.data)));
    source.addEventListener("signed-out", signedOut);
    source.onerror = () => {
      lost();
      if (source && source.readyState === EventSource.CLOSED) window.setTimeout(reopen, RETRY_MS);
    };
  }

  // Browsers allow six connections to a host: a hidden tab gives its own back.
  function follow() {
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else if (!source) {
      open();
    }
  }

  window.addEventListener("beforeunload", () => (leaving = true));
  window.addEventListener("pageshow", () => (leaving = false));
  document.addEventListener("visibilitychange", follow);
  window.setInterval(tick, 1000);
  follow();
})();
