// Keeps the page up to date: asks for it again, and changes in place what differs. What has the focus, what is typed
// and where one has scrolled to stay as they are. Stops while nobody looks.
"use strict";
(() => {
  const pause = document.getElementById("pause");
  const stale = document.getElementById("stale");
  const deadline = 20000;
  let paused = false;
  let asking = false;
  let timer = 0;
  let heard = new Date();

  const later = () => {
    clearTimeout(timer);
    const seconds = Number(document.body.dataset.every) || 5;
    if (!paused && !document.hidden) timer = setTimeout(update, 1000 * seconds);
  };

  // Makes one node what another is, keeping what is the same.
  const morph = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.adoptNode(fresh));
      return;
    }
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) return;
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      // What is unfolded stays unfolded.
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    const [here, there] = [[...old.childNodes], [...fresh.childNodes]];
    there.forEach((child, at) => {
      if (at < here.length) morph(here[at], child);
      else old.append(document.adoptNode(child));
    });
    here.slice(there.length).forEach((child) => child.remove());
  };

  const show = (fresh) => {
    for (const part of ["h1", "main", "footer"]) {
      const [old, now] = [document.querySelector(part), fresh.querySelector(part)];
      if (old && now) morph(old, now);
      else if (now) document.body.append(document.adoptNode(now));
    }
    document.title = fresh.title;
    document.body.dataset.every = fresh.body.dataset.every;
    heard = new Date();
    stale.hidden = true;
    stale.textContent = "";
  };

  const update = async () => {
    if (asking) return;
    asking = true;
    try {
      const signal = AbortSignal.timeout(deadline);
      // Without the name and password that the address may have.
      const address = location.origin + location.pathname + location.search;
      const answer = await fetch(address, { cache: "no-store", signal });
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      if (!fresh.querySelector("main")) throw new Error(`${answer.status}`);
      show(fresh);
    } catch {
      const since = heard.toISOString().slice(11, 19);
      const words = `This node has not answered since ${since} UTC: what is shown is of then.`;
      if (stale.textContent !== words) stale.textContent = words;
      stale.hidden = false;
    } finally {
      asking = false;
      later();
    }
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) clearTimeout(timer);
    else update();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!paused) update();
  });
  later();
})();
