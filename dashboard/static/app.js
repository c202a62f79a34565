// Keeps a pool's page live: one EventSource, fragments morphed in place, relative times.
"use strict";

(function () {
  const body = document.body;
  const link = document.getElementById("link");
  const words = document.getElementById("link-words");
  const age = document.getElementById("link-age");
  const RETRY_MS = 2000;
  const OLD_S = 10; // the dashboard speaks every 4 s, so by then something is wrong
  const GAP_MS = 5000; // a timer of 1 s that late was stopped: the machine slept
  let source = null;
  let lostSince = null;
  let leaving = false;
  let opened = 0;
  let ticked = Date.now();
  let skew = Date.parse(body.dataset.now) - Date.now(); // of this machine's clock
  let heard = stamped({ state: body.dataset.link, age: Number(body.dataset.age) });

  function short(seconds) {
    if (seconds < 60) return seconds + " s";
    if (seconds < 3600) return Math.floor(seconds / 60) + " min";
    if (seconds < 86400) return Math.floor(seconds / 3600) + " h";
    return Math.floor(seconds / 86400) + " d";
  }

  function ago(seconds) {
    return seconds < 2 ? "now" : short(seconds) + " ago";
  }

  // Two clocks: one stands still while the machine sleeps, the other may be set back.
  function stamped(news) {
    return { ...news, wall: Date.now(), steady: performance.now() };
  }

  function unheard() {
    return Math.max(0, Date.now() - heard.wall, performance.now() - heard.steady) / 1000;
  }

  function tick() {
    for (const time of document.querySelectorAll("time[data-ago], time[data-for]")) {
      const seconds = Math.max(0, Math.floor((Date.now() + skew - Date.parse(time.dateTime)) / 1000));
      const text = "for" in time.dataset ? short(seconds) : ago(seconds);
      if (time.textContent !== text) time.textContent = text;
    }
    const slept = Date.now() - ticked > GAP_MS;
    ticked = Date.now();
    judge();
    const stuck = unheard() > OLD_S && performance.now() - opened > OLD_S * 1000;
    if (source && (slept || stuck)) open();
  }

  // What is old looks old: grey, its age in the title and in the header.
  function judge() {
    const seconds = Math.floor(heard.age + unheard());
    const old = heard.state !== "live" || lostSince !== null || seconds > OLD_S;
    body.classList.toggle("is-old", old);
    age.textContent = old ? short(seconds) + " old" : "";
    if (old && heard.state === "live" && lostSince === null) {
      const since = new Date(Date.now() + skew - seconds * 1000);
      show("lost", source ? "no news since " + clock(since) : "paused since " + clock(since));
    }
    const health = document.querySelector(".pools [aria-current] .badge");
    const first = old ? short(seconds) + " old" : health ? health.textContent.trim() : "unknown";
    const title = first + " \u00b7 " + body.dataset.pool + " \u00b7 CacheMesh";
    if (document.title !== title) document.title = title;
  }

  function clock(date) {
    return date.toISOString().slice(11, 19) + " UTC";
  }

  function show(state, text) {
    link.className = "link is-" + state;
    if (words.textContent !== text) words.textContent = text;
  }

  function lost() {
    lostSince = lostSince || new Date(Date.now() + skew);
    show("lost", "reconnecting since " + clock(lostSince));
    judge();
  }

  // What a page has already, as most of it at the first message, is not worth a comparison by node.
  function put(element, html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    const like = element.cloneNode(false);
    like.append(fresh.content);
    if (!like.isEqualNode(element)) Idiomorph.morph(element, html, { morphStyle: "innerHTML" });
  }

  function apply(message) {
    for (const [name, html] of Object.entries(message.html)) {
      const element = document.getElementById("live-" + name);
      if (element) put(element, html);
    }
    Live.list(message.rows, message.url);
    lostSince = null;
    skew = Date.parse(message.link.now) - Date.now();
    heard = stamped(message.link);
    if (message.link.state === "live") show("live", "live");
    else {
      const what = message.link.state === "quiet" ? "no news since " : "metaserver lost since ";
      show("lost", what + clock(new Date(message.link.since)));
    }
    tick();
  }

  function signedOut() {
    if (source) source.close();
    source = null;
    show("lost", "signed out");
    // Who signs out is on the way to a page that says so.
    if (!leaving) window.location.assign(body.dataset.login);
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
    opened = performance.now();
    source = new EventSource(body.dataset.live + Live.query());
    source.addEventListener("fragments", (event) => apply(JSON.parse(event.data)));
    source.addEventListener("signed-out", signedOut);
    source.onerror = () => {
      lost();
      if (source && source.readyState === EventSource.CLOSED) window.setTimeout(reopen, RETRY_MS);
    };
  }

  Live.reopen = () => {
    if (!document.hidden) open();
  };

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
